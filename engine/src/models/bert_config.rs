//! What config.json says about a BERT, checked before anything is believed.
//!
//! Promises that every number is within bounds in which no product of them overflows, and that what this engine does
//! not compute is refused by the name of the field. Lists the tensors that the weights must hold. Must not know how
//! weights are stored or what the forward pass does with them.

use candle_nn::Activation;
use serde::Deserialize;

use super::field::{LARGEST, MOST_LAYERS, bounded, unsupported};
use crate::error::{Error, Result};

/// config.json as published; fields that inference does not need are ignored.
#[derive(Deserialize)]
struct Published {
    model_type: Option<String>,
    hidden_size: u64,
    num_hidden_layers: u64,
    num_attention_heads: u64,
    intermediate_size: u64,
    vocab_size: u64,
    max_position_embeddings: u64,
    type_vocab_size: u64,
    layer_norm_eps: f64,
    hidden_act: serde_json::Value,
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
}

/// The shape of a BERT encoder.
#[derive(Clone, Debug)]
pub struct BertConfig {
    pub layers: usize,
    pub hidden: usize,
    pub heads: usize,
    pub intermediate: usize,
    pub vocab: usize,
    pub positions: usize,
    pub types: usize,
    pub eps: f32,
}

impl BertConfig {
    /// Reads the bytes of config.json.
    ///
    /// # Errors
    /// `BadWeights` if it is not a sound configuration, `Unsupported` if it is a sound one of something else.
    #[allow(clippy::cast_possible_truncation)] // eps is checked after the conversion
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let value: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|e| Error::BadWeights(format!("config.json: {e}")))?;
        if let Some(kind) = value.get("model_type").and_then(|kind| kind.as_str())
            && kind != "bert"
        {
            return Err(unsupported("model_type", kind, "\"bert\""));
        }
        let said: Published =
            serde_json::from_value(value).map_err(|e| Error::BadWeights(format!("config.json: {e}")))?;
        said.refuse_what_is_not_done()?;
        let eps = said.layer_norm_eps as f32;
        if !(eps > 0.0 && eps < 1.0) {
            let seen = said.layer_norm_eps;
            return Err(Error::BadWeights(format!(
                "config.json: layer_norm_eps is {seen}; it must be above 0, below 1"
            )));
        }
        let config = Self {
            layers: bounded("num_hidden_layers", said.num_hidden_layers, MOST_LAYERS)?,
            hidden: bounded("hidden_size", said.hidden_size, LARGEST)?,
            heads: bounded("num_attention_heads", said.num_attention_heads, LARGEST)?,
            intermediate: bounded("intermediate_size", said.intermediate_size, LARGEST)?,
            vocab: bounded("vocab_size", said.vocab_size, LARGEST * 4)?,
            positions: bounded("max_position_embeddings", said.max_position_embeddings, LARGEST)?,
            types: bounded("type_vocab_size", said.type_vocab_size, LARGEST)?,
            eps,
        };
        if !config.hidden.is_multiple_of(config.heads) {
            let (hidden, heads) = (config.hidden, config.heads);
            return Err(Error::BadWeights(format!(
                "config.json: hidden_size {hidden} is no multiple of num_attention_heads {heads}"
            )));
        }
        Ok(config)
    }

    /// Names and shapes of the tensors that must be in the weights.
    pub fn tensors(&self) -> impl Iterator<Item = (String, Vec<usize>)> + '_ {
        let (d, inner) = (self.hidden, self.intermediate);
        let fixed = [
            ("embeddings.word_embeddings.weight", vec![self.vocab, d]),
            ("embeddings.position_embeddings.weight", vec![self.positions, d]),
            ("embeddings.token_type_embeddings.weight", vec![self.types, d]),
            ("embeddings.LayerNorm.weight", vec![d]),
            ("embeddings.LayerNorm.bias", vec![d]),
        ];
        let linear = [
            ("attention.self.query", d, d),
            ("attention.self.key", d, d),
            ("attention.self.value", d, d),
            ("attention.output.dense", d, d),
            ("intermediate.dense", inner, d),
            ("output.dense", d, inner),
        ];
        let layers = (0..self.layers).flat_map(move |layer| {
            let dense = linear.into_iter().flat_map(move |(name, out, into)| {
                let at = format!("encoder.layer.{layer}.{name}");
                [(format!("{at}.weight"), vec![out, into]), (format!("{at}.bias"), vec![out])]
            });
            let norms = ["attention.output.LayerNorm", "output.LayerNorm"].into_iter().flat_map(move |name| {
                ["weight", "bias"].map(|part| (format!("encoder.layer.{layer}.{name}.{part}"), vec![d]))
            });
            dense.chain(norms)
        });
        fixed.into_iter().map(|(name, shape)| (name.to_owned(), shape)).chain(layers)
    }
}

impl Published {
    fn refuse_what_is_not_done(&self) -> Result<()> {
        if self.model_type.is_none() {
            return Err(unsupported("model_type", "missing", "\"bert\""));
        }
        if self.is_decoder {
            return Err(unsupported("is_decoder", "true", "encoders"));
        }
        if let Some(kind) = self.position_embedding_type.as_deref()
            && kind != "absolute"
        {
            return Err(unsupported("position_embedding_type", kind, "\"absolute\""));
        }
        match serde_json::from_value::<Activation>(self.hidden_act.clone()) {
            Ok(Activation::Gelu) => Ok(()),
            _ => Err(unsupported("hidden_act", &self.hidden_act.to_string(), "\"gelu\" (the erf form)")),
        }
    }
}
