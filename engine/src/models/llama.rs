//! Llama and Qwen2: a decoder that reads a prompt in chunks and then one token at a time.
//!
//! Decides how many rows go through the layers together. A chunk has at most `CHUNK_ROWS` rows and the feed-forward part
//! works on `BLOCK_ROWS` at a time, so the memory of a call is the cache of keys and values, known from the number of
//! positions, and a workspace of fixed size. Both are allocated in `State::new` and never grow. There is a checkpoint
//! before each layer and each head of keys: a call can be stopped within a part of a chunk. The matrices are packed at
//! load into one run of huge pages; a tied input table is read out of the packed output matrix, not kept twice.
//! Must not know about files, tokenizers, sampling or Python.

use candle_core::Tensor;
use candle_nn::VarBuilder;

use super::llama_config::LlamaConfig;
use super::packer::Packer;
use crate::cancel::checkpoint;
use crate::error::{Error, Result};
use crate::kernels::activation::gate;
use crate::kernels::cached::{Groups, KeyValues, cache_len, scratch_len};
use crate::kernels::matmul::{Finish, Packed, Rows, matmul};
use crate::kernels::norm::normalize_by_square;
use crate::kernels::packing::{packed_column, packed_len};
use crate::kernels::rotary::{fill_table, rotate};
use crate::tensor::with_floats;

/// Rows of a prompt that go through the layers together.
pub const CHUNK_ROWS: usize = 256;
/// Rows of the feed-forward part at a time.
const BLOCK_ROWS: usize = 96;

/// A packed matrix by its place in the run.
struct Matrix {
    start: usize,
    k: usize,
    n: usize,
    bias: Vec<f32>,
}

struct Layer {
    qkv: Matrix,
    projection: Matrix,
    /// Gates, then values.
    expand: Matrix,
    contract: Matrix,
    attention_norm: Vec<f32>,
    feed_norm: Vec<f32>,
}

/// A loaded decoder.
pub struct Llama {
    config: LlamaConfig,
    run: Vec<f32>,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    /// The input table; nothing if the packed output matrix is it.
    table: Option<Tensor>,
    head: Matrix,
    steps: Vec<f32>,
}

/// What one call keeps between its steps, and the buffers that all its layers share.
pub struct State {
    keys: Vec<f32>,
    values: Vec<f32>,
    capacity: usize,
    /// Positions that are kept.
    len: usize,
    hidden: Vec<f32>,
    normed: Vec<f32>,
    qkv: Vec<f32>,
    context: Vec<f32>,
    inner: Vec<f32>,
    turns: Vec<f32>,
    scratch: Vec<f32>,
    logits: Vec<f32>,
}

/// Matrices of a layer as (k, n).
fn layer_sizes(config: &LlamaConfig) -> [(usize, usize); 4] {
    let (d, inner) = (config.hidden, config.intermediate);
    [(d, config.qkv_width()), (config.query_width(), d), (d, 2 * inner), (inner, d)]
}

/// Bytes of the packed matrices, or nothing if the number can't be represented.
#[must_use]
pub fn packed_bytes(config: &LlamaConfig) -> Option<u64> {
    let mut layer = 0_usize;
    for (k, n) in layer_sizes(config) {
        layer = layer.checked_add(packed_len(k, n)?)?;
    }
    let head = packed_len(config.hidden, config.vocab)?;
    u64::try_from(layer.checked_mul(config.layers)?.checked_add(head)?.checked_mul(4)?).ok()
}

fn groups(config: &LlamaConfig) -> Groups {
    Groups { heads: config.heads, kv_heads: config.kv_heads, width: config.head_width }
}

/// Lengths of the buffers of a [`State`], in its order; nothing if one can't be represented.
fn buffer_lens(config: &LlamaConfig, capacity: usize) -> Option<[usize; 10]> {
    let rows = capacity.min(CHUNK_ROWS);
    let (keys, values) = cache_len(capacity, groups(config))?;
    let times = |rows: usize, width: usize| rows.checked_mul(width);
    Some([
        times(keys, config.layers)?,
        times(values, config.layers)?,
        times(rows, config.hidden)?,
        times(rows, config.hidden)?,
        times(rows, config.qkv_width())?,
        times(rows, config.query_width())?,
        times(rows.min(BLOCK_ROWS), config.intermediate.checked_mul(2)?)?,
        times(rows, config.head_width)?,
        scratch_len(capacity, groups(config))?,
        config.vocab,
    ])
}

/// Bytes of a [`State`] for `capacity` positions. Saturates instead of overflowing.
#[must_use]
pub fn state_bytes(config: &LlamaConfig, capacity: usize) -> u64 {
    let floats = buffer_lens(config, capacity).and_then(|lens| lens.into_iter().try_fold(0_usize, usize::checked_add));
    floats.map_or(u64::MAX, |floats| (floats as u64).saturating_mul(4))
}

impl State {
    /// Room for `capacity` positions, all of it allocated now.
    fn new(config: &LlamaConfig, capacity: usize) -> Result<Self> {
        let too_long = || Error::BadShape(format!("{capacity} positions are beyond what can be addressed"));
        let lens = buffer_lens(config, capacity).ok_or_else(too_long)?;
        let [keys, values, hidden, normed, qkv, context, inner, turns, scratch, logits] =
            lens.map(|len| vec![0.0_f32; len]);
        Ok(Self { keys, values, capacity, len: 0, hidden, normed, qkv, context, inner, turns, scratch, logits })
    }

    /// Positions that are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Llama {
    /// Builds the decoder: packs the matrices. No thread, no forward pass.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn load(vb: &VarBuilder<'_>, config: &LlamaConfig) -> Result<Self> {
        let floats = packed_bytes(config).and_then(|bytes| usize::try_from(bytes / 4).ok());
        let floats = floats.ok_or_else(|| Error::BadWeights("config.json: the sizes overflow".to_owned()))?;
        let mut packer = Packer::new(floats);
        let mut layers = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            checkpoint()?;
            layers.push(Layer::load(&vb.pp(format!("model.layers.{layer}")), config, &mut packer)?);
        }
        let table = vb.get((config.vocab, config.hidden), "model.embed_tokens.weight")?;
        let (head, table) = if config.tied {
            (packer.pack(&[(&table, 1.0)], config.hidden)?, None)
        } else {
            let head = vb.get((config.vocab, config.hidden), "lm_head.weight")?;
            (packer.pack(&[(&head, 1.0)], config.hidden)?, Some(table))
        };
        Ok(Self {
            norm: floats_of(vb, config.hidden, "model.norm.weight")?,
            head: Matrix { start: head, k: config.hidden, n: config.vocab, bias: Vec::new() },
            steps: config.rotary.steps(config.head_width),
            run: packer.finish(),
            config: config.clone(),
            layers,
            table,
        })
    }

    #[must_use]
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// See [`State`].
    ///
    /// # Errors
    /// `BadShape` if so many positions can't be addressed.
    pub fn state(&self, capacity: usize) -> Result<State> {
        State::new(&self.config, capacity)
    }

    /// Appends tokens to what the state has seen and returns the logits after the last, `vocab` of them. The caller has
    /// checked the ids, that there are some, and that the state has room for them.
    ///
    /// # Errors
    /// `Cancelled` at a checkpoint; the state is then of no more use.
    pub fn forward<'s>(&self, ids: &[u32], state: &'s mut State) -> Result<&'s [f32]> {
        self.forward_with(ids, state, |_| Ok(()))?;
        let last = (ids.len() - 1) % CHUNK_ROWS;
        self.head(state, last);
        Ok(&state.logits)
    }

    /// The logits after each of the tokens, row by row into `out`. For comparisons and raw tensors: generation needs
    /// only the last row.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn logits(&self, ids: &[u32], state: &mut State, out: &mut [f32]) -> Result<()> {
        let mut rows_out = out.chunks_exact_mut(self.config.vocab);
        self.forward_with(ids, state, |(model, state, rows): (&Self, &mut State, usize)| {
            for (row, out) in (0..rows).zip(&mut rows_out) {
                checkpoint()?;
                model.head(state, row);
                out.copy_from_slice(&state.logits);
            }
            Ok(())
        })
    }

    fn forward_with(
        &self,
        ids: &[u32],
        state: &mut State,
        mut after: impl FnMut((&Self, &mut State, usize)) -> Result<()>,
    ) -> Result<()> {
        if ids.len() > state.capacity - state.len {
            let message = format!("{} tokens after {}; there is room for {}", ids.len(), state.len, state.capacity);
            return Err(Error::Internal(message));
        }
        for chunk in ids.chunks(CHUNK_ROWS) {
            self.chunk(chunk, state)?;
            state.len += chunk.len();
            after((self, state, chunk.len()))?;
        }
        Ok(())
    }

    fn chunk(&self, ids: &[u32], state: &mut State) -> Result<()> {
        let (d, rows) = (self.config.hidden, ids.len());
        self.embed(ids, &mut state.hidden[..rows * d])?;
        fill_table(&self.steps, state.len, &mut state.turns[..rows * self.config.head_width]);
        for (index, layer) in self.layers.iter().enumerate() {
            checkpoint()?;
            self.attention(index, layer, rows, state)?;
            for start in (0..rows).step_by(BLOCK_ROWS) {
                checkpoint()?;
                let rows = start * d..(start + BLOCK_ROWS.min(rows - start)) * d;
                self.feed_forward(layer, &mut state.hidden[rows.clone()], &mut state.normed[rows], &mut state.inner);
            }
        }
        Ok(())
    }

    fn embed(&self, ids: &[u32], into: &mut [f32]) -> Result<()> {
        let d = self.config.hidden;
        let outside = |id: u32| Error::Internal(format!("token {id} is outside the table"));
        let Some(table) = &self.table else {
            let head = self.packed(&self.head);
            for (id, row) in ids.iter().zip(into.chunks_exact_mut(d)) {
                packed_column(head, *id as usize, row);
            }
            return Ok(());
        };
        with_floats(table, |table| {
            for (id, row) in ids.iter().zip(into.chunks_exact_mut(d)) {
                let start = *id as usize * d;
                row.copy_from_slice(table.get(start..start + d).ok_or_else(|| candle_core::Error::wrap(outside(*id)))?);
            }
            Ok(())
        })?;
        Ok(())
    }

    fn packed<'a>(&'a self, matrix: &'a Matrix) -> Packed<'a> {
        let len = packed_len(matrix.k, matrix.n).unwrap_or(0);
        let data = &self.run[matrix.start..matrix.start + len];
        Packed { data, k: matrix.k, n: matrix.n, bias: &matrix.bias }
    }

    /// `into = rows of a` times a matrix, rows of `a` beginning `stride` floats apart.
    fn multiply(&self, a: &[f32], stride: usize, matrix: &Matrix, rows: usize, into: &mut [f32]) {
        matmul(Rows { data: a, stride }, rows, self.packed(matrix), Finish::Nothing, into, matrix.n);
    }

    fn attention(&self, index: usize, layer: &Layer, rows: usize, state: &mut State) -> Result<()> {
        let shape = groups(&self.config);
        let (d, query, width) = (self.config.hidden, self.config.query_width(), self.config.qkv_width());
        let (hidden, normed) = (&mut state.hidden[..rows * d], &mut state.normed[..rows * d]);
        normalize_by_square(hidden, &layer.attention_norm, self.config.eps, normed);
        self.multiply(normed, d, &layer.qkv, rows, &mut state.qkv);
        let (keys, values) = cache_len(state.capacity, shape).unwrap_or_default();
        let mut cache = KeyValues {
            keys: &mut state.keys[index * keys..(index + 1) * keys],
            values: &mut state.values[index * values..(index + 1) * values],
            capacity: state.capacity,
        };
        let turns = state.turns.chunks_exact(self.config.head_width);
        for ((row, turn), position) in state.qkv.chunks_exact_mut(width).take(rows).zip(turns).zip(state.len..) {
            let (turned, value) = row.split_at_mut(query + shape.kv_heads * shape.width);
            rotate(turned, turn);
            cache.keep(position, &turned[query..], value, shape);
        }
        let queries = Rows { data: &state.qkv, stride: width };
        let context = &mut state.context[..rows * query];
        cache.attend(queries, (state.len, rows), shape, &mut state.scratch, context, checkpoint)?;
        self.multiply(context, query, &layer.projection, rows, normed);
        add(hidden, normed);
        Ok(())
    }

    /// `hidden += the feed-forward part of it`, for at most `BLOCK_ROWS` rows.
    fn feed_forward(&self, layer: &Layer, hidden: &mut [f32], normed: &mut [f32], inner: &mut [f32]) {
        let (rows, width) = (hidden.len() / self.config.hidden, 2 * self.config.intermediate);
        let inner = &mut inner[..rows * width];
        normalize_by_square(hidden, &layer.feed_norm, self.config.eps, normed);
        self.multiply(normed, self.config.hidden, &layer.expand, rows, inner);
        gate(inner, width);
        self.multiply(inner, width, &layer.contract, rows, normed);
        add(hidden, normed);
    }

    /// Floating-point operations of the matrix products for a prompt and the tokens that follow, a multiply-add counted
    /// as two. Only the last token of a prompt has logits.
    #[must_use]
    pub fn flops(&self, prompt: usize, new: usize) -> u64 {
        let config = &self.config;
        let layer = layer_sizes(config).iter().map(|(k, n)| *k as u64 * *n as u64).fold(0, u64::saturating_add);
        let (prompt, new, width) = (prompt as u64, new as u64, config.query_width() as u64);
        let tokens = prompt.saturating_add(new.saturating_sub(1));
        // Each token sees itself and all before it.
        let seen = tokens.saturating_mul(tokens.saturating_add(1)) / 2;
        let attention = seen.saturating_mul(4 * width);
        let layers = tokens.saturating_mul(2 * layer).saturating_add(attention).saturating_mul(config.layers as u64);
        let head = 2 * config.hidden as u64 * config.vocab as u64;
        layers.saturating_add(head.saturating_mul(new))
    }

    /// The logits of one row of the last chunk, into the state.
    fn head(&self, state: &mut State, row: usize) {
        let d = self.config.hidden;
        let normed = &mut state.normed[..d];
        normalize_by_square(&state.hidden[row * d..(row + 1) * d], &self.norm, self.config.eps, normed);
        self.multiply(normed, d, &self.head, 1, &mut state.logits);
    }
}

impl Layer {
    fn load(vb: &VarBuilder<'_>, config: &LlamaConfig, packer: &mut Packer) -> Result<Self> {
        let (d, q, kv) = (config.hidden, config.query_width(), config.kv_heads * config.head_width);
        #[allow(clippy::cast_precision_loss)] // a head is at most a few hundred columns wide
        let scale = 1.0 / (config.head_width as f32).sqrt();
        let [(_, qkv), ..] = layer_sizes(config);
        let own = vb.pp("self_attn");
        let feed = vb.pp("mlp");
        let weight = |vb: &VarBuilder<'_>, name: &str, n: usize, k: usize| vb.pp(name).get((n, k), "weight");
        let bias = if config.biased {
            // The scale of the scores is put into the query once, instead of into every score.
            let mut joined = floats_of(&own, q, "q_proj.bias")?;
            for value in &mut joined {
                *value *= scale;
            }
            joined.extend(floats_of(&own, kv, "k_proj.bias")?);
            joined.extend(floats_of(&own, kv, "v_proj.bias")?);
            joined
        } else {
            Vec::new()
        };
        let parts = [weight(&own, "q_proj", q, d)?, weight(&own, "k_proj", kv, d)?, weight(&own, "v_proj", kv, d)?];
        let start = packer.pack(&[(&parts[0], scale), (&parts[1], 1.0), (&parts[2], 1.0)], d)?;
        drop(parts);
        let qkv = Matrix { start, k: d, n: qkv, bias };
        let inner = config.intermediate;
        let mut lone = |matrices: &[&Tensor], k: usize, n: usize| -> Result<Matrix> {
            let parts: Vec<(&Tensor, f32)> = matrices.iter().map(|matrix| (*matrix, 1.0)).collect();
            Ok(Matrix { start: packer.pack(&parts, k)?, k, n, bias: Vec::new() })
        };
        Ok(Self {
            qkv,
            projection: lone(&[&weight(&own, "o_proj", d, q)?], q, d)?,
            expand: {
                let (gates, values) = (weight(&feed, "gate_proj", inner, d)?, weight(&feed, "up_proj", inner, d)?);
                lone(&[&gates, &values], d, 2 * inner)?
            },
            contract: lone(&[&weight(&feed, "down_proj", d, inner)?], inner, d)?,
            attention_norm: floats_of(vb, d, "input_layernorm.weight")?,
            feed_norm: floats_of(vb, d, "post_attention_layernorm.weight")?,
        })
    }
}

fn floats_of(vb: &VarBuilder<'_>, len: usize, name: &str) -> Result<Vec<f32>> {
    Ok(with_floats(&vb.get(len, name)?, |values| Ok(values.to_vec()))?)
}

fn add(to: &mut [f32], from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}
