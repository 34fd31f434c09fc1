//! BERT, as an encoder of texts into one vector each.
//!
//! Decides how many rows go through the layers together and in which order the work is done. There is no padding:
//! the tokens of several texts are rows of one matrix for the linear layers, and attention looks at each text alone.
//! A pass holds at most `PASS_ROWS` rows, or one longer text, and the feed-forward part works on `BLOCK_ROWS` rows at
//! a time, so that the memory of a call has a known bound (`peak_bytes`) whatever the number of texts. The workspace
//! is allocated once per call. The matrices are packed at load into one run of huge pages: see `packing`.
//! Must not know about files, tokenizers or Python.

use std::cell::RefCell;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use super::bert_config::BertConfig;
use super::packer::Packer;
use crate::cancel::checkpoint;
use crate::error::{Error, Result};
use crate::kernels::attention::{Heads, scratch_len};
use crate::kernels::matmul::Finish;
use crate::kernels::norm::mean_of_rows;
use crate::kernels::packing::packed_len;
use crate::tensor::{AddNorm, Attention, Embed, Linear, with_floats};

/// Rows that go through the layers together, unless one text alone is longer.
pub const PASS_ROWS: usize = 512;
/// Rows of the feed-forward part at a time: its inner activations stay in the second-level cache's reach.
const BLOCK_ROWS: usize = 96;

/// How the rows of a text become one vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pooling {
    Mean,
    First,
}

struct Layer {
    qkv: Linear,
    projection: Linear,
    attention_norm: AddNorm,
    expand: Linear,
    contract: Linear,
    output_norm: AddNorm,
}

/// A loaded encoder.
pub struct Bert {
    config: BertConfig,
    pooling: Pooling,
    words: Tensor,
    positions: Tensor,
    types: Tensor,
    norm: AddNorm,
    layers: Vec<Layer>,
}

/// Buffers that all layers share.
struct Workspace {
    hidden: Tensor,
    qkv: Tensor,
    context: Tensor,
    inner: Tensor,
    delta: Tensor,
    scratch: RefCell<Vec<f32>>,
}

/// Bytes of the packed matrices, or nothing if the number can't be represented.
#[must_use]
pub fn packed_bytes(config: &BertConfig) -> Option<u64> {
    let (d, inner) = (config.hidden, config.intermediate);
    let sizes = [packed_len(d, d.checked_mul(3)?)?, packed_len(d, d)?, packed_len(d, inner)?, packed_len(inner, d)?];
    let layer = sizes.into_iter().try_fold(0_usize, usize::checked_add)?;
    u64::try_from(layer.checked_mul(config.layers)?.checked_mul(4)?).ok()
}

/// A layer's matrices by their place in the run, until the run is a tensor.
struct Places {
    starts: [usize; 4],
    biases: [Tensor; 4],
}

fn norm(vb: &VarBuilder<'_>, width: usize, eps: f32) -> Result<AddNorm> {
    Ok(AddNorm { weight: vb.get(width, "weight")?, bias: vb.get(width, "bias")?, eps })
}

fn pack_layer(vb: &VarBuilder<'_>, config: &BertConfig, packer: &mut Packer) -> Result<Places> {
    let (d, inner) = (config.hidden, config.intermediate);
    #[allow(clippy::cast_precision_loss)] // the width of a head is at most 2^20
    let scale = 1.0 / ((d / config.heads) as f32).sqrt();
    let own = vb.pp("attention.self");
    let read = |name: &str| own.pp(name).get((d, d), "weight");
    let (query, key, value) = (read("query")?, read("key")?, read("value")?);
    let read_bias = |name: &str| own.pp(name).get(d, "bias");
    // The scale of the scores is put into the query once, instead of into every score.
    let query_bias = (read_bias("query")? * f64::from(scale))?;
    let qkv_bias = Tensor::cat(&[&query_bias, &read_bias("key")?, &read_bias("value")?], 0)?;
    let dense = |name: &str, out: usize, into: usize| -> Result<(Tensor, Tensor)> {
        let vb = vb.pp(name);
        Ok((vb.get((out, into), "weight")?, vb.get(out, "bias")?))
    };
    let (projection, projection_bias) = dense("attention.output.dense", d, d)?;
    let (expand, expand_bias) = dense("intermediate.dense", inner, d)?;
    let (contract, contract_bias) = dense("output.dense", d, inner)?;
    let starts = [
        packer.pack(&[(&query, scale), (&key, 1.0), (&value, 1.0)], d)?,
        packer.pack(&[(&projection, 1.0)], d)?,
        packer.pack(&[(&expand, 1.0)], d)?,
        packer.pack(&[(&contract, 1.0)], inner)?,
    ];
    Ok(Places { starts, biases: [qkv_bias, projection_bias, expand_bias, contract_bias] })
}

impl Bert {
    /// Builds the encoder: packs the matrices, leaves the tables where they are. No thread, no forward pass.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn load(vb: &VarBuilder<'_>, config: &BertConfig, pooling: Pooling) -> Result<Self> {
        let (d, inner) = (config.hidden, config.intermediate);
        let floats = packed_bytes(config).and_then(|bytes| usize::try_from(bytes / 4).ok());
        let floats = floats.ok_or_else(|| Error::BadWeights("config.json: the sizes overflow".to_owned()))?;
        let mut packer = Packer::new(floats);
        let mut places = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            checkpoint()?;
            places.push(pack_layer(&vb.pp(format!("encoder.layer.{layer}")), config, &mut packer)?);
        }
        let run = Tensor::from_vec(packer.finish(), floats, &Device::Cpu)?;
        let mut layers = Vec::with_capacity(config.layers);
        for (layer, Places { starts, biases: [qkv, projection, expand, contract] }) in places.into_iter().enumerate() {
            let vb = vb.pp(format!("encoder.layer.{layer}"));
            let linear = |start: usize, bias: Tensor, k: usize, n: usize, finish: Finish| -> Result<Linear> {
                let len = packed_len(k, n).unwrap_or(0);
                Ok(Linear { packed: run.narrow(0, start, len)?, bias, k, n, finish })
            };
            layers.push(Layer {
                qkv: linear(starts[0], qkv, d, 3 * d, Finish::Nothing)?,
                projection: linear(starts[1], projection, d, d, Finish::Nothing)?,
                attention_norm: norm(&vb.pp("attention.output.LayerNorm"), d, config.eps)?,
                expand: linear(starts[2], expand, d, inner, Finish::Gelu)?,
                contract: linear(starts[3], contract, inner, d, Finish::Nothing)?,
                output_norm: norm(&vb.pp("output.LayerNorm"), d, config.eps)?,
            });
        }
        let tables = vb.pp("embeddings");
        Ok(Self {
            words: tables.get((config.vocab, d), "word_embeddings.weight")?,
            positions: tables.get((config.positions, d), "position_embeddings.weight")?,
            types: tables.get((config.types, d), "token_type_embeddings.weight")?,
            norm: norm(&tables.pp("LayerNorm"), d, config.eps)?,
            config: config.clone(),
            pooling,
            layers,
        })
    }

    /// One vector per text into `out`, `hidden` floats each. The caller has checked every text: not empty, no longer
    /// than the position table, ids within the vocabulary.
    ///
    /// # Errors
    /// `Cancelled` at a checkpoint.
    pub fn encode(&self, texts: &[Vec<u32>], out: &mut [f32]) -> Result<()> {
        let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
        let total = texts.iter().map(Vec::len).sum::<usize>();
        let workspace = self.workspace(total.min(longest.max(PASS_ROWS)), longest)?;
        let mut first = 0;
        while first < texts.len() {
            let mut rows = texts[first].len();
            let mut next = first + 1;
            while next < texts.len() && rows + texts[next].len() <= PASS_ROWS {
                rows += texts[next].len();
                next += 1;
            }
            let d = self.config.hidden;
            self.pass(&texts[first..next], rows, &workspace, &mut out[first * d..next * d])?;
            first = next;
        }
        Ok(())
    }

    fn workspace(&self, rows: usize, longest: usize) -> Result<Workspace> {
        let d = self.config.hidden;
        let zeros = |rows: usize, width: usize| Tensor::zeros((rows, width), DType::F32, &Device::Cpu);
        let too_long = || Error::BadShape(format!("a text of {longest} tokens is beyond what can be addressed"));
        let block = rows.min(BLOCK_ROWS);
        Ok(Workspace {
            hidden: zeros(rows, d)?,
            qkv: zeros(rows, 3 * d)?,
            context: zeros(rows, d)?,
            inner: zeros(block, self.config.intermediate)?,
            delta: zeros(block, d)?,
            scratch: RefCell::new(vec![0.0; scratch_len(longest, self.shape()).ok_or_else(too_long)?]),
        })
    }

    fn shape(&self) -> Heads {
        Heads { heads: self.config.heads, width: self.config.hidden / self.config.heads }
    }

    fn pass(&self, texts: &[Vec<u32>], rows: usize, buffers: &Workspace, out: &mut [f32]) -> Result<()> {
        let d = self.config.hidden;
        let ids: Vec<(u32, u32)> =
            texts.iter().flat_map(|text| text.iter().zip(0_u32..).map(|(id, at)| (*id, at))).collect();
        let hidden = buffers.hidden.narrow(0, 0, rows)?;
        let embed = Embed { rows: &ids, positions: &self.positions, types: &self.types, norm: &self.norm };
        hidden.inplace_op2(&self.words, &embed)?;
        for layer in &self.layers {
            checkpoint()?;
            self.attention(layer, texts, rows, buffers)?;
            Self::rest_of_layer(layer, rows, buffers)?;
        }
        with_floats(&hidden, |hidden| {
            let mut start = 0;
            for (text, vector) in texts.iter().zip(out.chunks_exact_mut(d)) {
                let rows = &hidden[start * d..(start + text.len()) * d];
                match self.pooling {
                    Pooling::Mean => mean_of_rows(rows, vector),
                    Pooling::First => vector.copy_from_slice(&rows[..d]),
                }
                start += text.len();
            }
            Ok(())
        })?;
        Ok(())
    }

    fn attention(&self, layer: &Layer, texts: &[Vec<u32>], rows: usize, buffers: &Workspace) -> Result<()> {
        buffers.qkv.narrow(0, 0, rows)?.inplace_op2(&buffers.hidden.narrow(0, 0, rows)?, &layer.qkv)?;
        let op = Attention { shape: self.shape(), scratch: &buffers.scratch };
        let mut start = 0;
        for text in texts {
            checkpoint()?;
            let source = buffers.qkv.narrow(0, start, text.len())?;
            buffers.context.narrow(0, start, text.len())?.inplace_op2(&source, &op)?;
            start += text.len();
        }
        Ok(())
    }

    /// Projection, norm, feed-forward and norm, for a block of rows at a time.
    fn rest_of_layer(layer: &Layer, rows: usize, buffers: &Workspace) -> Result<()> {
        for start in (0..rows).step_by(BLOCK_ROWS) {
            let count = BLOCK_ROWS.min(rows - start);
            let hidden = buffers.hidden.narrow(0, start, count)?;
            let (delta, inner) = (buffers.delta.narrow(0, 0, count)?, buffers.inner.narrow(0, 0, count)?);
            delta.inplace_op2(&buffers.context.narrow(0, start, count)?, &layer.projection)?;
            hidden.inplace_op2(&delta, &layer.attention_norm)?;
            inner.inplace_op2(&hidden, &layer.expand)?;
            delta.inplace_op2(&inner, &layer.contract)?;
            hidden.inplace_op2(&delta, &layer.output_norm)?;
        }
        Ok(())
    }

    /// An upper bound of the bytes that `encode` allocates for texts of `tokens` in all, the longest of `longest`.
    /// Saturates instead of overflowing.
    #[must_use]
    pub fn peak_bytes(&self, tokens: usize, longest: usize) -> u64 {
        let (d, inner) = (self.config.hidden, self.config.intermediate);
        let rows = tokens.min(longest.max(PASS_ROWS));
        let per_row = d.saturating_mul(5).saturating_add(2);
        let block = rows.min(BLOCK_ROWS).saturating_mul(inner + d);
        let scratch = scratch_len(longest, self.shape()).unwrap_or(usize::MAX);
        let floats = rows.saturating_mul(per_row).saturating_add(block).saturating_add(scratch);
        // Tensors' own small structures, a few hundred bytes each and alive a handful at a time.
        (floats as u64).saturating_mul(4).saturating_add(64 << 10)
    }

    /// Floating-point operations of the matrix products for texts of these lengths, a multiply-add counted as two.
    #[must_use]
    pub fn flops(&self, lengths: &[usize]) -> u64 {
        let (d, inner) = (self.config.hidden as u64, self.config.intermediate as u64);
        let per_token = 2 * (4 * d * d + 2 * d * inner);
        let texts = lengths.iter().map(|n| {
            let n = *n as u64;
            let linear = per_token.saturating_mul(n);
            linear.saturating_add(4_u64.saturating_mul(d).saturating_mul(n).saturating_mul(n))
        });
        texts.fold(0, u64::saturating_add).saturating_mul(self.config.layers as u64)
    }
}
