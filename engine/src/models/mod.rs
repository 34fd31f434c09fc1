//! The architectures, one file each, with the configuration it reads.
//!
//! Each model checks lengths before it allocates, has a checkpoint between layers, and reuses one workspace for all
//! layers. A new architecture is a new file here and one arm in `model`.

pub mod bert;
pub mod bert_config;
pub mod llama;
pub mod llama_config;
pub mod packer;
pub mod rotary_config;
