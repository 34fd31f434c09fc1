//! The engine of wickguard: models on candle, for processes that may be killed at any time.
//!
//! From the bottom up: `ledger` and `mapping` own memory, `kernels` compute on slices, `tensor` makes them candle
//! operations, `directory`, `weights`, `tokenizer_file`, `bpe_file` and `models` read files, `tokens` and `bpe` cut text,
//! `sampling`, `answer`, `chat`, `session` and `batch` are what a text that is written needs, `picture` and `processing`
//! what a picture needs, `draw` what a forecast needs; there is one module per task (`embedder`, `generator`, `classifier`,
//! `forecaster`), `model` chooses between them, and only `py` and the modules that begin so know Python. What is
//! promised to a caller is in `wickguard_engine/_engine.pyi`.

pub mod answer;
pub mod batch;
pub mod bpe;
pub mod bpe_file;
pub mod cancel;
pub mod chat;
pub mod classifier;
pub mod cuts;
pub mod directory;
pub mod draw;
pub mod embedder;
pub mod error;
pub mod forecaster;
pub mod generator;
pub mod inplace;
pub mod kernels;
pub mod ledger;
pub mod mapping;
pub mod model;
pub mod models;
pub mod picture;
pub mod processing;
pub mod sampling;
pub mod session;
pub mod spec;
pub mod tensor;
pub mod tokenizer_file;
pub mod tokens;
pub mod weights;

#[cfg(feature = "faults")]
mod faults;
mod panics;
mod py;
mod py_classifier;
mod py_embedding;
mod py_forecaster;
mod py_generation;

#[global_allocator]
static ALLOCATOR: ledger::Ledger = ledger::Ledger;
