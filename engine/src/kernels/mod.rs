//! The arithmetic of a transformer on plain slices: no tensors, no allocation beyond what a caller hands in, one
//! thread.
//!
//! Decides loop order, blocking and vectorisation. Promises that no function here starts a thread, and that every
//! slice is checked at its entry, so that a wrong size is a panic there and never a wild read. Must not know about
//! models, files or Python.

pub mod activation;
pub mod attention;
pub mod cached;
pub mod convolution;
pub mod cross;
pub mod lanes;
pub mod matmul;
pub mod norm;
pub mod packing;
pub mod resample;
pub mod residual;
pub mod rotary;
pub mod step;
