//! The fields of config.json, each checked before it is believed.
//!
//! Promises that a number that passed is within bounds in which no product of three of them overflows 64 bits, and that a
//! complaint names the field, what was seen and what is accepted.

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// No dimension of a model that this engine serves is larger; products of three still fit 64 bits.
pub const LARGEST: u64 = 1 << 20;
pub const MOST_LAYERS: u64 = 1024;

#[must_use]
pub fn unsupported(field: &str, seen: &str, accepted: &str) -> Error {
    Error::Unsupported(format!("config.json: {field} is {seen}; this engine does {accepted}"))
}

/// # Errors
/// `BadWeights` if the value is 0 or above `most`.
pub fn bounded(field: &str, value: u64, most: u64) -> Result<usize> {
    if value == 0 || value > most {
        return Err(Error::BadWeights(format!("config.json: {field} is {value}; it must be 1 to {most}")));
    }
    usize::try_from(value).map_err(|_| Error::BadWeights(format!("config.json: {field} is {value}, too large here")))
}

/// # Errors
/// `BadWeights` if the value is no small positive number.
#[allow(clippy::cast_possible_truncation)] // checked after the conversion
pub fn epsilon(field: &str, value: f64) -> Result<f32> {
    let eps = value as f32;
    if eps > 0.0 && eps < 1.0 {
        return Ok(eps);
    }
    Err(Error::BadWeights(format!("config.json: {field} is {value}; it must be above 0, below 1")))
}

/// The configuration as published, if `model_type` is what it should be.
///
/// # Errors
/// `BadWeights` if it is not sound, `Unsupported` if it is a sound one of something else.
pub fn published<T: DeserializeOwned>(bytes: &[u8], model_type: &str) -> Result<T> {
    let bad = |e: serde_json::Error| Error::BadWeights(format!("config.json: {e}"));
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(bad)?;
    let seen = value.get("model_type").and_then(serde_json::Value::as_str).unwrap_or("missing");
    if seen != model_type {
        return Err(unsupported("model_type", seen, &format!("{model_type:?}")));
    }
    serde_json::from_value(value).map_err(bad)
}
