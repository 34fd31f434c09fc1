//! What can go wrong, as the caller sees it.
//!
//! Every message says what was seen and what would have been accepted. Must not know about Python: `py` turns each
//! kind into its exception class.

use std::fmt;

/// The kinds of failure; each is one Python exception class.
#[derive(Debug)]
pub enum Error {
    /// More memory would be needed than is allowed; says how much.
    OutOfMemory(String),
    /// The input does not fit the model.
    BadShape(String),
    /// A model file is damaged or contradicts another.
    BadWeights(String),
    /// A model file is sound but asks for something this engine does not do.
    Unsupported(String),
    /// Someone asked to stop.
    Cancelled,
    /// A fault of the engine itself.
    Internal(String),
}

pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory(message)
            | Self::BadShape(message)
            | Self::BadWeights(message)
            | Self::Unsupported(message) => f.write_str(message),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Internal(message) => write!(f, "internal: {message}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

/// Whether a model computed numbers.
#[must_use]
pub fn all_finite(values: &[f32]) -> bool {
    values.iter().all(|value| value.is_finite())
}

/// What to say when it did not: no input that passed the checks does that to sound weights.
#[must_use]
pub fn not_finite() -> Error {
    Error::BadWeights("the model computes what is no finite number: its weights are damaged".to_owned())
}
