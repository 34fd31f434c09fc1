//! The engine of wickguard: texts to vectors on candle, for processes that may be killed at any time.
//!
//! From the bottom up: `ledger` and `mapping` own memory, `kernels` compute on slices, `tensor` makes them candle
//! operations, `weights`, `tokenizer_file` and `models` read files, `tokens` cuts text, `model` puts a model directory
//! together, and `py` is the only module that knows Python. What is promised to a caller is in `wickguard_engine/_engine.pyi`.

pub mod cancel;
pub mod draw;
pub mod error;
pub mod inplace;
pub mod kernels;
pub mod ledger;
pub mod mapping;
pub mod model;
pub mod models;
pub mod picture;
pub mod processing;
pub mod tensor;
pub mod tokenizer_file;
pub mod tokens;
pub mod weights;

#[cfg(feature = "faults")]
mod faults;
mod panics;
mod py;

#[global_allocator]
static ALLOCATOR: ledger::Ledger = ledger::Ledger;
