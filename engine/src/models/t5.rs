//! T5 (Raffel et al., 2020): the weights, and the encoder.
//!
//! Decides that tokens which nobody may attend to are left out instead of masked: each token comes with its position,
//! and the bias of the attention is by the distance of positions, so the result is that of the reference with its mask
//! and costs less. What the decoder will attend to is packed once, per layer, as a `Memory`. Must not know what tokens
//! mean, about files or about Python.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use super::linears::{Linears, packed_bytes};
use super::t5_config::{PROJECTIONS, T5Config};
use crate::cancel::checkpoint;
use crate::error::{Error, Result};
use crate::inplace::{combine, write};
use crate::kernels::attention::{attend_biased, scratch_len};
use crate::kernels::cross::{memory_len, pack_memory};
use crate::kernels::matmul::Finish;
use crate::kernels::norm::normalize_by_square;
use crate::kernels::residual::add;
use crate::tensor::{Linear, with_floats};

/// Rows of the feed-forward part at a time.
const BLOCK_ROWS: usize = 96;

/// Tokens to themselves: norm, projections, and back.
pub struct SelfAttention {
    pub norm: Tensor,
    pub qkv: Linear,
    pub out: Linear,
}

/// The decoder's tokens to the encoder's.
pub struct CrossAttention {
    pub norm: Tensor,
    pub query: Linear,
    pub memory: Linear,
    pub out: Linear,
}

pub struct FeedForward {
    pub norm: Tensor,
    pub expand: Linear,
    pub contract: Linear,
}

struct EncoderLayer {
    attention: SelfAttention,
    feed_forward: FeedForward,
}

pub struct DecoderLayer {
    pub attention: SelfAttention,
    pub cross: CrossAttention,
    pub feed_forward: FeedForward,
}

/// A loaded T5.
pub struct T5 {
    pub config: T5Config,
    pub tokens: Tensor,
    encoder: Vec<EncoderLayer>,
    encoder_norm: Tensor,
    encoder_bias: Tensor,
    pub decoder: Vec<DecoderLayer>,
    pub decoder_norm: Tensor,
    pub decoder_bias: Tensor,
    pub head: Linear,
}

/// One input as the decoder sees it: per decoder layer, keys and values packed for `kernels::cross`.
pub struct Memory {
    pub layers: Vec<Vec<f32>>,
    pub tokens: usize,
}

/// `to = norm(from)`, row by row.
///
/// # Errors
/// None in practice.
pub fn normalize(to: &Tensor, from: &Tensor, weight: &Tensor, eps: f32) -> Result<()> {
    combine(to, from, |to, from| {
        with_floats(weight, |weight| {
            normalize_by_square(from, weight, eps, to);
            Ok(())
        })
    })?;
    Ok(())
}

/// `to = to + delta`.
///
/// # Errors
/// None in practice.
pub fn add_to(to: &Tensor, delta: &Tensor) -> Result<()> {
    combine(to, delta, |to, delta| {
        add(to, delta);
        Ok(())
    })?;
    Ok(())
}

impl FeedForward {
    fn load(vb: &VarBuilder<'_>, config: &T5Config, linears: &mut Linears) -> Result<Self> {
        let (d, wide) = (config.hidden, config.intermediate);
        let dense = vb.pp("DenseReluDense");
        let (expand, contract) = (dense.get((wide, d), "wi.weight")?, dense.get((d, wide), "wo.weight")?);
        Ok(Self {
            norm: vb.get(d, "layer_norm.weight")?,
            expand: linears.linear(&[(&expand, 1.0)], Linears::no_bias()?, Finish::Relu)?,
            contract: linears.linear(&[(&contract, 1.0)], Linears::no_bias()?, Finish::Nothing)?,
        })
    }

    /// `hidden = hidden + contract(relu(expand(norm(hidden))))`, a block of rows at a time.
    ///
    /// # Errors
    /// None in practice.
    pub fn run(&self, hidden: &Tensor, (normed, inner): (&Tensor, &Tensor), eps: f32) -> Result<()> {
        let (rows, block) = (hidden.dim(0)?, inner.dim(0)?);
        for start in (0..rows).step_by(block.max(1)) {
            let count = block.min(rows - start);
            let hidden = hidden.narrow(0, start, count)?;
            let (normed, inner) = (normed.narrow(0, 0, count)?, inner.narrow(0, 0, count)?);
            normalize(&normed, &hidden, &self.norm, eps)?;
            inner.inplace_op2(&normed, &self.expand)?;
            normed.inplace_op2(&inner, &self.contract)?;
            add_to(&hidden, &normed)?;
        }
        Ok(())
    }
}

impl SelfAttention {
    fn load(vb: &VarBuilder<'_>, config: &T5Config, linears: &mut Linears) -> Result<Self> {
        let (d, inner) = (config.hidden, config.inner());
        let own = vb.pp("SelfAttention");
        let [query, key, value] = PROJECTIONS.map(|name| own.pp(name).get((inner, d), "weight"));
        let parts = [(&query?, 1.0), (&key?, 1.0), (&value?, 1.0)];
        Ok(Self {
            norm: vb.get(d, "layer_norm.weight")?,
            qkv: linears.linear(&parts, Linears::no_bias()?, Finish::Nothing)?,
            out: load_out(&own, config, linears)?,
        })
    }
}

fn load_out(vb: &VarBuilder<'_>, config: &T5Config, linears: &mut Linears) -> Result<Linear> {
    let weight = vb.get((config.hidden, config.inner()), "o.weight")?;
    linears.linear(&[(&weight, 1.0)], Linears::no_bias()?, Finish::Nothing)
}

impl CrossAttention {
    fn load(vb: &VarBuilder<'_>, config: &T5Config, linears: &mut Linears) -> Result<Self> {
        let (d, inner) = (config.hidden, config.inner());
        let own = vb.pp("EncDecAttention");
        let [query, key, value] = PROJECTIONS.map(|name| own.pp(name).get((inner, d), "weight"));
        Ok(Self {
            norm: vb.get(d, "layer_norm.weight")?,
            query: linears.linear(&[(&query?, 1.0)], Linears::no_bias()?, Finish::Nothing)?,
            memory: linears.linear(&[(&key?, 1.0), (&value?, 1.0)], Linears::no_bias()?, Finish::Nothing)?,
            out: load_out(&own, config, linears)?,
        })
    }
}

impl T5 {
    /// Builds the model: packs the matrices. No thread, no forward pass.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn load(vb: &VarBuilder<'_>, config: &T5Config) -> Result<Self> {
        let d = config.hidden;
        let mut linears = Linears::new(packed_bytes(config.matrices()))?;
        let mut encoder = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            checkpoint()?;
            let vb = vb.pp(format!("encoder.block.{layer}.layer"));
            encoder.push(EncoderLayer {
                attention: SelfAttention::load(&vb.pp(0), config, &mut linears)?,
                feed_forward: FeedForward::load(&vb.pp(1), config, &mut linears)?,
            });
        }
        let mut decoder = Vec::with_capacity(config.decoder_layers);
        for layer in 0..config.decoder_layers {
            checkpoint()?;
            let vb = vb.pp(format!("decoder.block.{layer}.layer"));
            decoder.push(DecoderLayer {
                attention: SelfAttention::load(&vb.pp(0), config, &mut linears)?,
                cross: CrossAttention::load(&vb.pp(1), config, &mut linears)?,
                feed_forward: FeedForward::load(&vb.pp(2), config, &mut linears)?,
            });
        }
        let tokens = vb.get((config.vocab, d), "shared.weight")?;
        let own = vb.contains_tensor("lm_head.weight");
        let head = if own { vb.get((config.vocab, d), "lm_head.weight")? } else { tokens.clone() };
        let bias = |side: &str| {
            let name = format!("{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
            vb.get((config.buckets, config.shape.heads), &name)
        };
        Ok(Self {
            tokens,
            encoder,
            encoder_norm: vb.get(d, "encoder.final_layer_norm.weight")?,
            encoder_bias: bias("encoder")?,
            decoder,
            decoder_norm: vb.get(d, "decoder.final_layer_norm.weight")?,
            decoder_bias: bias("decoder")?,
            head: linears.linear(&[(&head, config.output_scale)], Linears::no_bias()?, Finish::Nothing)?,
            config: config.clone(),
        })
    }

    /// Rows of the token table for these ids.
    ///
    /// # Errors
    /// `Internal` if an id is outside the vocabulary.
    #[allow(clippy::needless_pass_by_value)] // an iterator is cheap to hand over
    pub fn embed(&self, ids: impl Iterator<Item = u32> + Clone, to: &Tensor) -> Result<()> {
        let d = self.config.hidden;
        write(to, |to| {
            with_floats(&self.tokens, |table| {
                for (row, id) in to.chunks_exact_mut(d).zip(ids.clone()) {
                    let Some(from) = table.chunks_exact(d).nth(id as usize) else {
                        candle_core::bail!("token {id} is outside the vocabulary")
                    };
                    row.copy_from_slice(from);
                }
                Ok(())
            })
        })?;
        Ok(())
    }

    /// What the decoder will attend to, for tokens given as (id, position), positions ascending.
    ///
    /// # Errors
    /// `Cancelled` at a checkpoint.
    pub fn encode(&self, tokens: &[(u32, u32)]) -> Result<Memory> {
        let (n, d, inner) = (tokens.len(), self.config.hidden, self.config.inner());
        let shape = self.config.shape;
        let zeros = |rows: usize, width: usize| Tensor::zeros((rows, width), DType::F32, &Device::Cpu);
        let too_long = || Error::BadShape(format!("an input of {n} tokens is beyond what can be addressed"));
        let block = n.min(BLOCK_ROWS);
        let (hidden, normed, qkv) = (zeros(n, d)?, zeros(n, d)?, zeros(n, 3 * inner)?);
        let (context, wide) = (zeros(n, inner)?, zeros(block, self.config.intermediate)?);
        let scratch = std::cell::RefCell::new(vec![0.0; scratch_len(n, shape).ok_or_else(too_long)?]);
        let bias = self.encoder_biases(tokens)?;
        let span = bias.len() / shape.heads / 2;
        let add_bias = |head: usize, query: usize, scores: &mut [f32]| {
            let row = &bias[head * (2 * span + 1)..][..=2 * span];
            let at = span - tokens[query].1 as usize;
            for (score, (_, position)) in scores.iter_mut().zip(tokens) {
                *score += row[at + *position as usize];
            }
        };
        self.embed(tokens.iter().map(|(id, _)| *id), &hidden)?;
        for layer in &self.encoder {
            checkpoint()?;
            normalize(&normed, &hidden, &layer.attention.norm, self.config.eps)?;
            qkv.inplace_op2(&normed, &layer.attention.qkv)?;
            combine(&context, &qkv, |to, from| {
                attend_biased(from, n, shape, add_bias, &mut scratch.borrow_mut(), to);
                Ok(())
            })?;
            normed.inplace_op2(&context, &layer.attention.out)?;
            add_to(&hidden, &normed)?;
            layer.feed_forward.run(&hidden, (&normed, &wide), self.config.eps)?;
        }
        normalize(&normed, &hidden, &self.encoder_norm, self.config.eps)?;
        let memory = qkv.flatten_all()?.narrow(0, 0, n * 2 * inner)?.reshape((n, 2 * inner))?;
        let len = memory_len(n, shape).ok_or_else(too_long)?;
        let mut layers = Vec::with_capacity(self.decoder.len());
        for layer in &self.decoder {
            checkpoint()?;
            memory.inplace_op2(&normed, &layer.cross.memory)?;
            let mut packed = vec![0.0; len];
            with_floats(&memory, |values| {
                pack_memory(values, n, shape, &mut packed);
                Ok(())
            })?;
            layers.push(packed);
        }
        Ok(Memory { layers, tokens: n })
    }

    /// Per head, the bias of a key -span to span tokens after its query, span being the last position.
    fn encoder_biases(&self, tokens: &[(u32, u32)]) -> Result<Vec<f32>> {
        let span = tokens.last().map_or(0, |(_, position)| *position).cast_signed() as isize;
        self.biases(&self.encoder_bias, (-span..=span).map(|offset| self.config.bucket(offset, true)))
    }

    /// Per head, the learnt bias of each bucket.
    ///
    /// # Errors
    /// None in practice.
    #[allow(clippy::needless_pass_by_value)] // an iterator is cheap to hand over
    pub fn biases(&self, table: &Tensor, buckets: impl Iterator<Item = usize> + Clone) -> Result<Vec<f32>> {
        let heads = self.config.shape.heads;
        Ok(with_floats(table, |table| {
            let head = |head: usize| buckets.clone().map(move |bucket| table[bucket * heads + head]);
            Ok((0..heads).flat_map(head).collect())
        })?)
    }

    /// An upper bound of the bytes that `encode` takes for `tokens` tokens, and of what stays as `Memory`.
    #[must_use]
    pub fn encode_bytes(&self, tokens: usize) -> (u64, u64) {
        let (d, inner, shape) = (self.config.hidden, self.config.inner(), self.config.shape);
        let memory = memory_len(tokens, shape).unwrap_or(usize::MAX).saturating_mul(self.decoder.len());
        let rows = tokens.saturating_mul(2 * d + 4 * inner);
        let block = tokens.min(BLOCK_ROWS).saturating_mul(self.config.intermediate);
        // Collected by doubling, so up to twice, with the old half beside it.
        let bias = tokens.saturating_mul(2).saturating_add(1).saturating_mul(3 * shape.heads);
        let scratch = scratch_len(tokens, shape).unwrap_or(usize::MAX);
        let floats = rows.saturating_add(block).saturating_add(bias).saturating_add(scratch).saturating_add(memory);
        ((floats as u64).saturating_mul(4).saturating_add(64 << 10), (memory as u64).saturating_mul(4))
    }

    /// Floating-point operations of the matrix products of `encode`, a multiply-add counted as two.
    #[must_use]
    pub fn encode_flops(&self, tokens: usize) -> u64 {
        let (d, inner, wide) = (self.config.hidden as u64, self.config.inner() as u64, self.config.intermediate as u64);
        let n = tokens as u64;
        let layer = n.saturating_mul(2 * (4 * d * inner + 2 * d * wide)).saturating_add(4 * inner * n * n);
        let memory = n.saturating_mul(4 * d * inner);
        layer.saturating_mul(self.config.layers as u64).saturating_add(memory.saturating_mul(self.decoder.len() as u64))
    }
}
