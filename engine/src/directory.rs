//! The files of a model directory, read within bounds.
//!
//! Decides how long each file may be and what reading it takes at its peak, so that a model's loader can compare its
//! whole need with the limit before anything is allocated from a number in a file. Promises that a complaint names the
//! file. Must not know what any model does with them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};
use crate::mapping::MappedFile;

/// The file of the weights.
pub const WEIGHTS: &str = "model.safetensors";
/// The file of the tokenizer.
pub const TOKENIZER: &str = "tokenizer.json";
/// The most bytes of config.json and files like it.
pub const LONGEST_CONFIG: u64 = 1 << 20;
const LONGEST_TOKENIZER: u64 = 64 << 20;
/// Bytes that reading the header of the weights takes at its peak, per byte: measured 10.6 for twenty thousand tensors
/// of one value.
const HEADER_FACTOR: u64 = 24;
/// What does not grow with any file.
const FIXED_NEED: u64 = 1 << 20;

/// A model directory, and the bytes that may be taken for what is in it.
pub struct Directory<'a> {
    path: &'a Path,
    memory_limit: Option<u64>,
}

impl<'a> Directory<'a> {
    #[must_use]
    pub fn new(path: &'a Path, memory_limit: Option<u64>) -> Self {
        Self { path, memory_limit }
    }

    /// Whether there is a file of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.path.join(name).exists()
    }

    /// A whole file of at most `most` bytes.
    ///
    /// # Errors
    /// `BadWeights` if the file is missing or longer.
    pub fn read(&self, name: &str, most: u64) -> Result<Vec<u8>> {
        let failed = |error: std::io::Error| Error::BadWeights(format!("{name}: {error}"));
        let file = File::open(self.path.join(name)).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        if len > most {
            return Err(Error::BadWeights(format!("{name}: has {len} bytes; at most {most} are read")));
        }
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    /// The bytes of tokenizer.json.
    ///
    /// # Errors
    /// See [`Self::read`].
    pub fn tokenizer(&self) -> Result<Vec<u8>> {
        self.read(TOKENIZER, LONGEST_TOKENIZER)
    }

    /// The weights in memory, without reading them.
    ///
    /// # Errors
    /// `BadWeights` with what the system says.
    pub fn weights(&self) -> Result<MappedFile> {
        let failed = |error: std::io::Error| Error::BadWeights(format!("{WEIGHTS}: {error}"));
        MappedFile::open(&File::open(self.path.join(WEIGHTS)).map_err(failed)?).map_err(failed)
    }

    /// Bytes that reading the header of the weights takes, and the tokenizer at `tokenizer_factor` bytes per byte of its
    /// file; 0 for a model that has none.
    ///
    /// # Errors
    /// `BadWeights` if a tokenizer is expected and missing.
    pub fn need_of_reading(&self, weights: &MappedFile, tokenizer_factor: u64) -> Result<u64> {
        let mut need = FIXED_NEED;
        if tokenizer_factor > 0 {
            let tokenizer = std::fs::metadata(self.path.join(TOKENIZER))
                .map_err(|error| Error::BadWeights(format!("{TOKENIZER}: {error}")))?
                .len();
            need = need.saturating_add(tokenizer.saturating_mul(tokenizer_factor));
        }
        // A header longer than the file is refused before it is read: it needs nothing.
        let header = weights.bytes().first_chunk::<8>().map_or(0, |raw| u64::from_le_bytes(*raw));
        let header = if header > weights.bytes().len() as u64 { 0 } else { header };
        Ok(need.saturating_add(header.saturating_mul(HEADER_FACTOR)))
    }

    /// Compares what loading needs with what it may take.
    ///
    /// # Errors
    /// `OutOfMemory` with both numbers.
    pub fn afford(&self, need: u64) -> Result<()> {
        match self.memory_limit {
            Some(limit) if need > limit => {
                Err(Error::OutOfMemory(format!("loading needs {need} bytes; the limit is {limit} bytes")))
            }
            _ => Ok(()),
        }
    }
}
