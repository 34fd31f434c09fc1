//! What `chronos_config` in config.json says about series and tokens, checked before anything is believed.

use serde::Deserialize;

use super::field::{bounded, unsupported};
use crate::error::{Error, Result};

#[derive(Deserialize)]
struct Outer {
    chronos_config: Published,
}

#[derive(Deserialize)]
struct Published {
    tokenizer_class: String,
    tokenizer_kwargs: Limits,
    context_length: u64,
    prediction_length: u64,
    n_tokens: u64,
    n_special_tokens: u64,
    eos_token_id: u32,
    use_eos_token: bool,
    model_type: String,
    num_samples: u64,
    temperature: f32,
    top_k: u64,
    top_p: f32,
}

#[derive(Deserialize)]
struct Limits {
    low_limit: f64,
    high_limit: f64,
}

/// How a forecaster reads series, and what it does when it is not told.
#[derive(Clone, Debug)]
pub struct ChronosConfig {
    /// Points of a series that are looked at, from its end.
    pub context: usize,
    /// Points that are forecast in one piece.
    pub prediction: usize,
    pub tokens: usize,
    pub special: usize,
    pub eos: u32,
    pub use_eos: bool,
    pub low: f32,
    pub high: f32,
    pub samples: usize,
    pub temperature: f32,
    pub top_k: usize,
    pub top_p: f32,
}

impl ChronosConfig {
    /// Reads the bytes of config.json, of a model with `vocab` tokens.
    ///
    /// # Errors
    /// `BadWeights` if it is not a sound configuration, `Unsupported` if it is a sound one of something else.
    #[allow(clippy::cast_possible_truncation)] // the limits are compared after the conversion
    pub fn parse(bytes: &[u8], vocab: usize) -> Result<Self> {
        let bad = |what: String| Error::BadWeights(format!("config.json: chronos_config: {what}"));
        let outer: Outer = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        let said = outer.chronos_config;
        if said.tokenizer_class != "MeanScaleUniformBins" {
            return Err(unsupported("tokenizer_class", &said.tokenizer_class, "\"MeanScaleUniformBins\""));
        }
        if said.model_type != "seq2seq" {
            return Err(unsupported("chronos_config.model_type", &said.model_type, "\"seq2seq\""));
        }
        let tokens = bounded("n_tokens", said.n_tokens, vocab as u64)?;
        let special = bounded("n_special_tokens", said.n_special_tokens, 1 << 16)?;
        let (low, high) = (said.tokenizer_kwargs.low_limit as f32, said.tokenizer_kwargs.high_limit as f32);
        // Two bins at least: one has no width.
        if tokens < special + 3 || !(low < high && (high - low).is_finite()) {
            return Err(bad("n_tokens, n_special_tokens and the limits leave no bins".to_owned()));
        }
        if said.eos_token_id as usize >= tokens {
            return Err(bad(format!("eos_token_id is {}, not a token", said.eos_token_id)));
        }
        Ok(Self {
            context: bounded("context_length", said.context_length, 1 << 16)?,
            prediction: bounded("prediction_length", said.prediction_length, 1 << 12)?,
            tokens,
            special,
            eos: said.eos_token_id,
            use_eos: said.use_eos_token,
            low,
            high,
            samples: bounded("num_samples", said.num_samples, 1 << 12)?,
            temperature: said.temperature,
            top_k: bounded("top_k", said.top_k, 1 << 20)?,
            top_p: said.top_p,
        })
    }
}
