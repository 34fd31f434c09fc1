//! Llama and Qwen2: a decoder that reads a prompt in chunks and then writes one token at a time, of one call or of several.
//!
//! Decides how rows go through the layers. In a pass all matrices are read once for all rows, whichever calls they belong
//! to; rotary positions, cache and attention are of each call alone, and what a row becomes does not depend on the rows
//! beside it, to the last bit. A chunk of a prompt is a pass of one call, a step of a batch one of a row per call. There is
//! a checkpoint before each layer and each head of keys: a call can be stopped within a part of a pass. The matrices are
//! packed at load into one run of huge pages; a tied input table is read out of the packed output matrix, not kept twice.
//! Must not know about files, tokenizers, sampling or Python.

use candle_core::Tensor;
use candle_nn::VarBuilder;

use super::llama_config::LlamaConfig;
use super::llama_state::{BLOCK_ROWS, CHUNK_ROWS, Cache, Workspace, groups};
use super::packer::Packer;
use crate::cancel::checkpoint;
use crate::error::{Error, Result};
use crate::kernels::activation::gate;
use crate::kernels::cached::{KeyValues, cache_len};
use crate::kernels::matmul::{Finish, Packed, Rows, matmul};
use crate::kernels::norm::normalize_by_square;
use crate::kernels::packing::{packed_column, packed_len};
use crate::kernels::rotary::{fill_table, rotate};
use crate::tensor::with_floats;

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

/// Rows of a pass that belong to one call.
struct Part<'a> {
    cache: &'a mut Cache,
    rows: usize,
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

    /// Appends tokens to what the cache has seen and returns the logits after the last, `vocab` of them. The caller has
    /// checked the ids and that there are some.
    ///
    /// # Errors
    /// `Cancelled` at a checkpoint; the cache is then of no more use.
    pub fn forward<'w>(&self, ids: &[u32], cache: &mut Cache, work: &'w mut Workspace) -> Result<&'w [f32]> {
        self.forward_with(ids, cache, work, |_, _| Ok(()))?;
        let last = (ids.len() - 1) % CHUNK_ROWS;
        self.head(work, last, 1);
        Ok(&work.logits[..self.config.vocab])
    }

    /// Appends one token to each of several caches and returns the logits after each, `vocab` of them per row. The caller
    /// has checked the ids and that the workspace is for so many.
    ///
    /// # Errors
    /// As [`Self::forward`], for all of the caches.
    pub fn step<'w>(&self, ids: &[u32], caches: &mut [&mut Cache], work: &'w mut Workspace) -> Result<&'w [f32]> {
        let mut parts: Vec<Part<'_>> = caches.iter_mut().map(|cache| Part { cache, rows: 1 }).collect();
        self.pass(ids, &mut parts, work)?;
        self.head(work, 0, ids.len());
        Ok(&work.logits[..ids.len() * self.config.vocab])
    }

    /// The logits after each of the tokens, row by row into `out`. For comparisons and raw tensors: generation needs
    /// only the last row.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn logits(&self, ids: &[u32], cache: &mut Cache, work: &mut Workspace, out: &mut [f32]) -> Result<()> {
        let mut rows_out = out.chunks_exact_mut(self.config.vocab);
        self.forward_with(ids, cache, work, |work, rows| {
            for (row, out) in (0..rows).zip(&mut rows_out) {
                checkpoint()?;
                self.head(work, row, 1);
                out.copy_from_slice(&work.logits[..out.len()]);
            }
            Ok(())
        })
    }

    fn forward_with(
        &self,
        ids: &[u32],
        cache: &mut Cache,
        work: &mut Workspace,
        mut after: impl FnMut(&mut Workspace, usize) -> Result<()>,
    ) -> Result<()> {
        for chunk in ids.chunks(CHUNK_ROWS) {
            self.pass(chunk, &mut [Part { cache, rows: chunk.len() }], work)?;
            after(work, chunk.len())?;
        }
        Ok(())
    }

    /// Appends the tokens to the caches, as many to each as its part has rows; the rows stay in the workspace.
    fn pass(&self, ids: &[u32], parts: &mut [Part<'_>], work: &mut Workspace) -> Result<()> {
        let (d, rows, turn) = (self.config.hidden, ids.len(), self.config.head_width);
        for part in &*parts {
            let Part { cache: Cache { capacity, len, .. }, rows } = part;
            if rows + len > *capacity || *capacity > work.room.positions {
                return Err(Error::Internal(format!("{rows} tokens after {len}; there is room for {capacity}")));
            }
        }
        self.embed(ids, &mut work.hidden[..rows * d])?;
        let mut start = 0;
        for part in &*parts {
            fill_table(&self.steps, part.cache.len, &mut work.turns[start * turn..(start + part.rows) * turn]);
            start += part.rows;
        }
        for (index, layer) in self.layers.iter().enumerate() {
            checkpoint()?;
            self.attention(index, layer, parts, work)?;
            for start in (0..rows).step_by(BLOCK_ROWS) {
                checkpoint()?;
                let rows = start * d..(start + BLOCK_ROWS.min(rows - start)) * d;
                self.feed_forward(layer, &mut work.hidden[rows.clone()], &mut work.normed[rows], &mut work.inner);
            }
        }
        for part in parts {
            part.cache.len += part.rows;
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

    fn attention(&self, index: usize, layer: &Layer, parts: &mut [Part<'_>], work: &mut Workspace) -> Result<()> {
        let rows: usize = parts.iter().map(|part| part.rows).sum();
        let (d, query) = (self.config.hidden, self.config.query_width());
        normalize_by_square(
            &work.hidden[..rows * d],
            &layer.attention_norm,
            self.config.eps,
            &mut work.normed[..rows * d],
        );
        self.multiply(&work.normed, d, &layer.qkv, rows, &mut work.qkv);
        let mut start = 0;
        for part in parts {
            self.attend(index, part, start, work)?;
            start += part.rows;
        }
        let (hidden, normed) = (&mut work.hidden[..rows * d], &mut work.normed[..rows * d]);
        self.multiply(&work.context, query, &layer.projection, rows, normed);
        add(hidden, normed);
        Ok(())
    }

    /// The context of the rows of one call, which begin at row `start`; their keys and values are kept.
    fn attend(&self, index: usize, part: &mut Part<'_>, start: usize, work: &mut Workspace) -> Result<()> {
        let (shape, query, width) = (groups(&self.config), self.config.query_width(), self.config.qkv_width());
        let (Cache { keys, values, capacity, len }, rows) = (&mut *part.cache, part.rows);
        let (keys_len, values_len) = cache_len(*capacity, shape).unwrap_or_default();
        let mut cache = KeyValues {
            keys: &mut keys[index * keys_len..(index + 1) * keys_len],
            values: &mut values[index * values_len..(index + 1) * values_len],
            capacity: *capacity,
        };
        let qkv = &mut work.qkv[start * width..(start + rows) * width];
        let turns = work.turns.chunks_exact(self.config.head_width).skip(start);
        for ((row, turn), position) in qkv.chunks_exact_mut(width).zip(turns).zip(*len..) {
            let (turned, value) = row.split_at_mut(query + shape.kv_heads * shape.width);
            rotate(turned, turn);
            cache.keep(position, &turned[query..], value, shape);
        }
        let queries = Rows { data: qkv, stride: width };
        let context = &mut work.context[start * query..(start + rows) * query];
        cache.attend(queries, (*len, rows), shape, &mut work.scratch, context, checkpoint)
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

    /// The logits of `rows` rows of the last pass from row `first` on, into the workspace.
    fn head(&self, work: &mut Workspace, first: usize, rows: usize) {
        let d = self.config.hidden;
        let normed = &mut work.normed[..rows * d];
        normalize_by_square(&work.hidden[first * d..(first + rows) * d], &self.norm, self.config.eps, normed);
        self.multiply(normed, d, &self.head, rows, &mut work.logits);
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
