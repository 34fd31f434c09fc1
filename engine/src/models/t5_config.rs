//! What config.json says about a T5, checked before anything is believed.
//!
//! Lists the tensors that the weights must hold, and knows the buckets of relative positions. Must not know how weights
//! are stored or what the tokens mean.

use serde::Deserialize;

use super::field::{LARGEST, MOST_LAYERS, bounded, epsilon, published, unsupported};
use crate::error::{Error, Result};
use crate::kernels::attention::Heads;

#[derive(Deserialize)]
struct Published {
    vocab_size: u64,
    d_model: u64,
    d_kv: u64,
    d_ff: u64,
    num_layers: u64,
    num_decoder_layers: Option<u64>,
    num_heads: u64,
    relative_attention_num_buckets: u64,
    #[serde(default = "default_distance")]
    relative_attention_max_distance: u64,
    layer_norm_epsilon: f64,
    #[serde(default = "relu")]
    feed_forward_proj: String,
    #[serde(default = "yes")]
    tie_word_embeddings: bool,
    scale_decoder_outputs: Option<bool>,
    decoder_start_token_id: u32,
}

fn default_distance() -> u64 {
    128
}

fn relu() -> String {
    "relu".to_owned()
}

fn yes() -> bool {
    true
}

/// The shape of a T5.
#[derive(Clone, Debug)]
pub struct T5Config {
    pub layers: usize,
    pub decoder_layers: usize,
    pub hidden: usize,
    pub shape: Heads,
    pub intermediate: usize,
    pub vocab: usize,
    pub buckets: usize,
    pub max_distance: usize,
    pub eps: f32,
    pub start: u32,
    /// What the last hidden state is multiplied by before the logits.
    pub output_scale: f32,
}

/// The names of the three parts of an attention's weights.
pub const PROJECTIONS: [&str; 3] = ["q", "k", "v"];

impl T5Config {
    /// Reads the bytes of config.json.
    ///
    /// # Errors
    /// `BadWeights` if it is not a sound configuration, `Unsupported` if it is a sound one of something else.
    #[allow(clippy::cast_precision_loss)] // at most 2^20
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let said: Published = published(bytes, "t5")?;
        if said.feed_forward_proj != "relu" {
            return Err(unsupported("feed_forward_proj", &said.feed_forward_proj, "\"relu\""));
        }
        let hidden = bounded("d_model", said.d_model, LARGEST)?;
        let vocab = bounded("vocab_size", said.vocab_size, LARGEST * 4)?;
        let heads = bounded("num_heads", said.num_heads, LARGEST)?;
        let width = bounded("d_kv", said.d_kv, LARGEST)?;
        if heads.saturating_mul(width) as u64 > LARGEST {
            return Err(Error::BadWeights(format!("config.json: num_heads times d_kv is above {LARGEST}")));
        }
        let start = said.decoder_start_token_id;
        if start as usize >= vocab {
            return Err(Error::BadWeights(format!(
                "config.json: decoder_start_token_id is {start}, not in the vocabulary"
            )));
        }
        let buckets = bounded("relative_attention_num_buckets", said.relative_attention_num_buckets, 1 << 16)?;
        let max_distance = bounded("relative_attention_max_distance", said.relative_attention_max_distance, LARGEST)?;
        if !buckets.is_multiple_of(4) || max_distance <= buckets / 2 {
            let field = "config.json: relative_attention_num_buckets";
            let message =
                format!("{field} is {buckets}; it must be a multiple of 4, its half below the maximum distance");
            return Err(Error::BadWeights(message));
        }
        let scaled = said.scale_decoder_outputs.unwrap_or(said.tie_word_embeddings);
        Ok(Self {
            layers: bounded("num_layers", said.num_layers, MOST_LAYERS)?,
            decoder_layers: bounded(
                "num_decoder_layers",
                said.num_decoder_layers.unwrap_or(said.num_layers),
                MOST_LAYERS,
            )?,
            hidden,
            shape: Heads { heads, width },
            intermediate: bounded("d_ff", said.d_ff, LARGEST)?,
            vocab,
            buckets,
            max_distance,
            eps: epsilon("layer_norm_epsilon", said.layer_norm_epsilon)?,
            start,
            output_scale: if scaled { 1.0 / (hidden as f32).sqrt() } else { 1.0 },
        })
    }

    /// Columns of all heads together.
    #[must_use]
    pub fn inner(&self) -> usize {
        self.shape.heads * self.shape.width
    }

    /// The bucket of a key that lies `offset` tokens after the query (before it, if negative): Raffel et al., 2020, in the
    /// single precision of the reference, whose rounding decides at the borders.
    #[must_use]
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // distances are small
    pub fn bucket(&self, offset: isize, bidirectional: bool) -> usize {
        let (buckets, base) = match (bidirectional, offset > 0) {
            (true, true) => (self.buckets / 2, self.buckets / 2),
            (true, false) => (self.buckets / 2, 0),
            (false, _) => (self.buckets, 0),
        };
        let distance = if bidirectional || offset < 0 { offset.unsigned_abs() } else { 0 };
        let exact = buckets / 2;
        if distance < exact {
            return base + distance;
        }
        let ratio = (distance as f32 / exact as f32).ln() / (self.max_distance as f64 / exact as f64).ln() as f32;
        base + (exact + (ratio * (buckets - exact) as f32) as usize).min(buckets - 1)
    }

    /// The matrices that are packed, as (k, n).
    pub fn matrices(&self) -> impl Iterator<Item = (usize, usize)> {
        let (d, inner, wide) = (self.hidden, self.inner(), self.intermediate);
        let encoder = [(d, 3 * inner), (inner, d), (d, wide), (wide, d)];
        let decoder = [(d, 3 * inner), (inner, d), (d, inner), (d, 2 * inner), (inner, d), (d, wide), (wide, d)];
        let encoder = (0..self.layers).flat_map(move |_| encoder);
        encoder.chain((0..self.decoder_layers).flat_map(move |_| decoder)).chain([(d, self.vocab)])
    }

    /// Names and shapes of the tensors that must be in the weights; `head` says whether the logits have a matrix of
    /// their own.
    #[must_use]
    pub fn tensors(&self, head: bool) -> Vec<(String, Vec<usize>)> {
        let (d, inner) = (self.hidden, self.inner());
        let mut list = vec![("shared.weight".to_owned(), vec![self.vocab, d])];
        if head {
            list.push(("lm_head.weight".to_owned(), vec![self.vocab, d]));
        }
        for (side, layers) in [("encoder", self.layers), ("decoder", self.decoder_layers)] {
            list.push((format!("{side}.final_layer_norm.weight"), vec![d]));
            let bias = format!("{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
            list.push((bias, vec![self.buckets, self.shape.heads]));
            for layer in 0..layers {
                let at = format!("{side}.block.{layer}.layer");
                let attentions: &[&str] =
                    if side == "encoder" { &["SelfAttention"] } else { &["SelfAttention", "EncDecAttention"] };
                for (part, name) in attentions.iter().enumerate() {
                    list.push((format!("{at}.{part}.layer_norm.weight"), vec![d]));
                    list.extend(PROJECTIONS.map(|p| (format!("{at}.{part}.{name}.{p}.weight"), vec![inner, d])));
                    list.push((format!("{at}.{part}.{name}.o.weight"), vec![d, inner]));
                }
                let part = attentions.len();
                list.push((format!("{at}.{part}.layer_norm.weight"), vec![d]));
                list.push((format!("{at}.{part}.DenseReluDense.wi.weight"), vec![self.intermediate, d]));
                list.push((format!("{at}.{part}.DenseReluDense.wo.weight"), vec![d, self.intermediate]));
            }
        }
        list
    }
}
