//! The architectures, one file each, with the configuration it reads.
//!
//! Each model checks lengths before it allocates, has a checkpoint between layers, and reuses one workspace for all
//! layers. A new architecture is a new file here and one arm in `model`.

pub mod bert;
pub mod bert_config;
pub mod bins;
pub mod chronos;
pub mod chronos_config;
pub mod field;
pub mod linears;
pub mod llama;
pub mod llama_config;
pub mod llama_state;
pub mod packer;
pub mod resnet;
pub mod resnet_config;
pub mod rotary_config;
pub mod t5;
pub mod t5_config;
pub mod t5_decoder;
pub mod vit;
pub mod vit_config;
