//! What config.json says about a Llama or a Qwen2, checked before anything is believed.
//!
//! Promises that every number is within bounds in which no product of them overflows, and that what this engine does
//! not compute is refused by the name of the field. Lists the tensors that the weights must hold. Must not know how
//! weights are stored or what the forward pass does with them.

use serde::Deserialize;
use serde_json::Value;

use super::rotary_config::RotaryConfig;
use crate::error::{Error, Result};
use crate::kernels::attention::MOST_ROWS;
use crate::kernels::packing::K_BLOCK;

/// No dimension of a model that this engine serves is larger; products of three still fit 64 bits.
const LARGEST: u64 = 1 << 20;
const MOST_LAYERS: u64 = 1024;

/// config.json as published; fields that inference does not need are ignored.
#[derive(Deserialize)]
#[allow(clippy::struct_excessive_bools)] // as published
struct Published {
    hidden_size: u64,
    num_hidden_layers: u64,
    num_attention_heads: u64,
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    intermediate_size: u64,
    vocab_size: u64,
    max_position_embeddings: u64,
    rms_norm_eps: f64,
    hidden_act: String,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default)]
    use_sliding_window: bool,
    layer_types: Option<Vec<String>>,
    eos_token_id: Option<Value>,
}

/// The shape of a decoder.
#[derive(Clone, Debug)]
pub struct LlamaConfig {
    pub architecture: &'static str,
    pub layers: usize,
    pub hidden: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_width: usize,
    pub intermediate: usize,
    pub vocab: usize,
    pub positions: usize,
    pub eps: f32,
    pub rotary: RotaryConfig,
    /// Whether the input table is the output matrix too.
    pub tied: bool,
    /// Whether queries, keys and values have a bias: what Qwen2 adds to Llama.
    pub biased: bool,
    /// Tokens that end an answer.
    pub ends: Vec<u32>,
}

fn bad(what: impl std::fmt::Display) -> Error {
    Error::BadWeights(format!("config.json: {what}"))
}

fn unsupported(field: &str, seen: &str, accepted: &str) -> Error {
    Error::Unsupported(format!("config.json: {field} is {seen}; this engine does {accepted}"))
}

fn bounded(field: &str, value: u64, most: u64) -> Result<usize> {
    if value == 0 || value > most {
        return Err(bad(format!("{field} is {value}; it must be 1 to {most}")));
    }
    usize::try_from(value).map_err(|_| bad(format!("{field} is {value}, too large here")))
}

/// One token id, or a list of them, or none, as `eos_token_id` is published.
///
/// # Errors
/// `BadWeights` for anything else.
pub fn token_ids(said: Option<&Value>, vocab: usize) -> Result<Vec<u32>> {
    let ids = match said {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(ids)) => ids.iter().map(Value::as_u64).collect::<Option<Vec<_>>>(),
        Some(id) => id.as_u64().map(|id| vec![id]),
    };
    let ids = ids.and_then(|ids| ids.into_iter().map(|id| u32::try_from(id).ok()).collect::<Option<Vec<u32>>>());
    ids.filter(|ids| ids.iter().all(|id| (*id as usize) < vocab))
        .ok_or_else(|| bad(format!("eos_token_id is no token id, or no list of them, below {vocab}")))
}

impl LlamaConfig {
    /// Reads the bytes of config.json of a model of this `architecture` ("llama" or "qwen2").
    ///
    /// # Errors
    /// `BadWeights` if it is not a sound configuration, `Unsupported` if it is a sound one of something else.
    #[allow(clippy::cast_possible_truncation)] // eps is checked after the conversion
    pub fn parse(bytes: &[u8], architecture: &'static str) -> Result<Self> {
        let value: Value = serde_json::from_slice(bytes).map_err(bad)?;
        let positions = value.get("max_position_embeddings").and_then(Value::as_u64).unwrap_or(0);
        let rotary = RotaryConfig::parse(&value, positions)?;
        let said: Published = serde_json::from_value(value).map_err(bad)?;
        said.refuse_what_is_not_done()?;
        let eps = said.rms_norm_eps as f32;
        if !(eps > 0.0 && eps < 1.0) {
            return Err(bad(format!("rms_norm_eps is {}; it must be above 0, below 1", said.rms_norm_eps)));
        }
        let heads = bounded("num_attention_heads", said.num_attention_heads, LARGEST)?;
        let hidden = bounded("hidden_size", said.hidden_size, LARGEST)?;
        let vocab = bounded("vocab_size", said.vocab_size, LARGEST * 4)?;
        let config = Self {
            architecture,
            layers: bounded("num_hidden_layers", said.num_hidden_layers, MOST_LAYERS)?,
            hidden,
            heads,
            kv_heads: bounded("num_key_value_heads", said.num_key_value_heads.unwrap_or(heads as u64), LARGEST)?,
            // A head's width must fit one block of the packed keys; published ones are at most 256.
            head_width: bounded("head_dim", said.head_dim.unwrap_or((hidden / heads) as u64), K_BLOCK as u64)?,
            intermediate: bounded("intermediate_size", said.intermediate_size, LARGEST)?,
            vocab,
            positions: bounded("max_position_embeddings", said.max_position_embeddings, LARGEST)?,
            eps,
            rotary,
            tied: said.tie_word_embeddings,
            biased: architecture == "qwen2",
            ends: token_ids(said.eos_token_id.as_ref(), vocab)?,
        };
        config.check_heads()?;
        Ok(config)
    }

    fn check_heads(&self) -> Result<()> {
        let (heads, kv_heads, width) = (self.heads, self.kv_heads, self.head_width);
        if !heads.is_multiple_of(kv_heads) {
            return Err(bad(format!("num_attention_heads {heads} is no multiple of num_key_value_heads {kv_heads}")));
        }
        if !width.is_multiple_of(2) {
            return Err(bad(format!("head_dim is {width}; rotary embeddings need an even one")));
        }
        if heads / kv_heads > MOST_ROWS {
            return Err(bad(format!("{heads} heads for {kv_heads} are more than {MOST_ROWS} for one")));
        }
        if heads.saturating_mul(width) > usize::try_from(LARGEST).unwrap_or(usize::MAX) {
            return Err(bad(format!("{heads} heads of {width} are wider than {LARGEST}")));
        }
        Ok(())
    }

    /// Columns of queries, keys and values together.
    #[must_use]
    pub fn qkv_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_width
    }

    /// Columns of all queries.
    #[must_use]
    pub fn query_width(&self) -> usize {
        self.heads * self.head_width
    }

    /// Names and shapes of the tensors of layer `layer`, in the order in which a layer is packed.
    #[must_use]
    pub fn layer_tensors(&self, layer: usize) -> Vec<(String, Vec<usize>)> {
        let (d, q, kv, inner) = (self.hidden, self.query_width(), self.kv_heads * self.head_width, self.intermediate);
        let at = |name: &str| format!("model.layers.{layer}.{name}");
        let mut tensors = vec![
            (at("self_attn.q_proj.weight"), vec![q, d]),
            (at("self_attn.k_proj.weight"), vec![kv, d]),
            (at("self_attn.v_proj.weight"), vec![kv, d]),
            (at("self_attn.o_proj.weight"), vec![d, q]),
            (at("mlp.gate_proj.weight"), vec![inner, d]),
            (at("mlp.up_proj.weight"), vec![inner, d]),
            (at("mlp.down_proj.weight"), vec![d, inner]),
            (at("input_layernorm.weight"), vec![d]),
            (at("post_attention_layernorm.weight"), vec![d]),
        ];
        if self.biased {
            for (name, width) in [("q_proj", q), ("k_proj", kv), ("v_proj", kv)] {
                tensors.push((at(&format!("self_attn.{name}.bias")), vec![width]));
            }
        }
        tensors
    }

    /// Names and shapes of the tensors outside the layers.
    #[must_use]
    pub fn outer_tensors(&self) -> Vec<(String, Vec<usize>)> {
        let table = vec![self.vocab, self.hidden];
        let mut tensors = vec![
            ("model.embed_tokens.weight".to_owned(), table.clone()),
            ("model.norm.weight".to_owned(), vec![self.hidden]),
        ];
        if !self.tied {
            tensors.push(("lm_head.weight".to_owned(), table));
        }
        tensors
    }
}

impl Published {
    fn refuse_what_is_not_done(&self) -> Result<()> {
        if self.hidden_act != "silu" {
            return Err(unsupported("hidden_act", &self.hidden_act, "\"silu\""));
        }
        if self.attention_bias {
            return Err(unsupported("attention_bias", "true", "false"));
        }
        if self.mlp_bias {
            return Err(unsupported("mlp_bias", "true", "false"));
        }
        if self.use_sliding_window {
            return Err(unsupported("use_sliding_window", "true", "full attention"));
        }
        let others = self.layer_types.iter().flatten().find(|kind| *kind != "full_attention");
        others.map_or(Ok(()), |kind| Err(unsupported("layer_types", kind, "\"full_attention\"")))
    }
}
