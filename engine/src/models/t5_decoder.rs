//! T5's decoder, one token at a time for several sequences that share one input.
//!
//! Decides that the rows of a step are the sequences, so that a step is a few matrix products; the encoder's keys and
//! values are packed once for all of them. The caches of all sequences and layers are allocated in full before the first
//! step: nothing grows while it runs. Must not know how a token is chosen.

use candle_core::{DType, Device, Tensor};

use super::t5::{DecoderLayer, Memory, T5, add_to, normalize};
use crate::cancel::checkpoint;
use crate::error::{Error, Result, all_finite, not_finite};
use crate::inplace::combine;
use crate::kernels::attention::{Heads, MOST_ROWS};
use crate::kernels::cross::{attend_memory, scratch_len};
use crate::kernels::step::{Cache, attend_step};
use crate::tensor::with_floats;

/// Sequences that are decoded together at most.
pub const MOST_SEQUENCES: usize = 32;
const _: () = assert!(MOST_SEQUENCES <= MOST_ROWS);

/// Sequences being decoded.
pub struct Decoder<'a> {
    model: &'a T5,
    memory: &'a Memory,
    rows: usize,
    capacity: usize,
    /// Steps done.
    at: usize,
    /// Per layer and row: keys, then values, `heads * capacity * width` floats each.
    caches: Vec<f32>,
    /// Per head, by how many tokens a key lies back.
    bias: Vec<f32>,
    hidden: Tensor,
    normed: Tensor,
    qkv: Tensor,
    context: Tensor,
    wide: Tensor,
    scratch: Vec<f32>,
    logits: Tensor,
}

/// Floats of the caches.
fn caches_len(layers: usize, rows: usize, capacity: usize, shape: Heads) -> Option<usize> {
    let row = capacity.checked_mul(shape.heads)?.checked_mul(shape.width)?.checked_mul(2)?;
    row.checked_mul(rows)?.checked_mul(layers)
}

impl T5 {
    /// `rows` sequences (at most `MOST_SEQUENCES`) of up to `capacity` steps, about one input.
    ///
    /// # Errors
    /// `BadShape` if that is more than can be addressed.
    pub fn decoder<'a>(&'a self, memory: &'a Memory, rows: usize, capacity: usize) -> Result<Decoder<'a>> {
        let (d, inner, shape) = (self.config.hidden, self.config.inner(), self.config.shape);
        let too_large = || Error::BadShape(format!("{rows} sequences of {capacity} steps can't be addressed"));
        let caches = caches_len(self.decoder.len(), rows, capacity, shape).ok_or_else(too_large)?;
        let scratch = scratch_len(rows, memory.tokens, shape).ok_or_else(too_large)?;
        let zeros = |width: usize| Tensor::zeros((rows, width), DType::F32, &Device::Cpu);
        let buckets = (0..capacity.cast_signed()).map(|back| self.config.bucket(-back, false));
        Ok(Decoder {
            model: self,
            memory,
            rows,
            capacity,
            at: 0,
            caches: vec![0.0; caches],
            bias: self.biases(&self.decoder_bias, buckets)?,
            hidden: zeros(d)?,
            normed: zeros(d)?,
            qkv: zeros(3 * inner)?,
            context: zeros(inner)?,
            wide: zeros(self.config.intermediate)?,
            scratch: vec![0.0; scratch.max(capacity)],
            logits: zeros(self.config.vocab)?,
        })
    }

    /// An upper bound of the bytes that a decoder of `rows` sequences takes.
    #[must_use]
    pub fn decode_bytes(&self, tokens: usize, rows: usize, capacity: usize) -> u64 {
        let (d, inner, shape) = (self.config.hidden, self.config.inner(), self.config.shape);
        let caches = caches_len(self.decoder.len(), rows, capacity, shape).unwrap_or(usize::MAX);
        let scratch = scratch_len(rows, tokens, shape).unwrap_or(usize::MAX).max(capacity);
        let row = (2 * d + 5 * inner).saturating_add(self.config.intermediate).saturating_add(self.config.vocab);
        let bias = capacity.saturating_mul(3 * shape.heads);
        let floats = caches.saturating_add(scratch).saturating_add(rows.saturating_mul(row)).saturating_add(bias);
        (floats as u64).saturating_mul(4).saturating_add(64 << 10)
    }

    /// Floating-point operations of `steps` steps of `rows` sequences, a multiply-add counted as two.
    #[must_use]
    pub fn decode_flops(&self, tokens: usize, rows: usize, steps: usize) -> u64 {
        let (d, inner, wide) = (self.config.hidden as u64, self.config.inner() as u64, self.config.intermediate as u64);
        let (tokens, steps) = (tokens as u64, steps as u64);
        let linear = 2 * (6 * d * inner + 2 * d * wide);
        let attention = (4 * inner).saturating_mul(tokens.saturating_add(steps.div_ceil(2)));
        let layers = linear.saturating_add(attention).saturating_mul(self.decoder.len() as u64);
        let step = layers.saturating_add(2 * d * self.config.vocab as u64);
        step.saturating_mul(steps).saturating_mul(rows as u64)
    }
}

impl Decoder<'_> {
    /// One step: the last token of each sequence in, `use_logits` gets `rows` x `vocab` logits of the next one.
    ///
    /// # Errors
    /// `Internal` beyond the capacity; `Cancelled` at a checkpoint.
    pub fn step<T>(&mut self, tokens: &[u32], use_logits: impl FnOnce(&[f32]) -> T) -> Result<T> {
        if tokens.len() != self.rows || self.at >= self.capacity {
            return Err(Error::Internal(format!("step {} of {} sequences was not planned", self.at, tokens.len())));
        }
        let model = self.model;
        model.embed(tokens.iter().copied(), &self.hidden)?;
        for (index, layer) in model.decoder.iter().enumerate() {
            checkpoint()?;
            self.attend_self(index, layer)?;
            self.attend_memory(index, layer)?;
            layer.feed_forward.run(&self.hidden, (&self.normed, &self.wide), model.config.eps)?;
        }
        self.at += 1;
        normalize(&self.normed, &self.hidden, &model.decoder_norm, model.config.eps)?;
        self.logits.inplace_op2(&self.normed, &model.head)?;
        let logits = with_floats(&self.logits, |logits| Ok(all_finite(logits).then(|| use_logits(logits))))?;
        logits.ok_or_else(not_finite)
    }

    fn attend_self(&mut self, index: usize, layer: &DecoderLayer) -> Result<()> {
        let config = &self.model.config;
        normalize(&self.normed, &self.hidden, &layer.attention.norm, config.eps)?;
        self.qkv.inplace_op2(&self.normed, &layer.attention.qkv)?;
        let (inner, capacity, at) = (config.inner(), self.capacity, self.at);
        let size = capacity * inner;
        let of_layer = &mut self.caches[index * self.rows * 2 * size..][..self.rows * 2 * size];
        let state = std::cell::RefCell::new((of_layer, &mut self.scratch));
        combine(&self.context, &self.qkv, |out, qkv| {
            let (caches, scratch) = &mut *state.borrow_mut();
            let rows = caches.chunks_exact_mut(2 * size).zip(qkv.chunks_exact(3 * inner));
            for ((cache, qkv), out) in rows.zip(out.chunks_exact_mut(inner)) {
                let (keys, values) = cache.split_at_mut(size);
                let mut cache = Cache { keys, values, capacity };
                attend_step(qkv, &mut cache, at, (config.shape, &self.bias), &mut scratch[..capacity], out);
            }
            Ok(())
        })?;
        self.normed.inplace_op2(&self.context, &layer.attention.out)?;
        add_to(&self.hidden, &self.normed)
    }

    fn attend_memory(&mut self, index: usize, layer: &DecoderLayer) -> Result<()> {
        let config = &self.model.config;
        normalize(&self.normed, &self.hidden, &layer.cross.norm, config.eps)?;
        let query = self.qkv.flatten_all()?.narrow(0, 0, self.rows * config.inner())?;
        let query = query.reshape((self.rows, config.inner()))?;
        query.inplace_op2(&self.normed, &layer.cross.query)?;
        let scratch = std::cell::RefCell::new(&mut self.scratch);
        combine(&self.context, &query, |out, query| {
            let memory = &self.memory.layers[index];
            attend_memory(query, memory, self.memory.tokens, config.shape, &mut scratch.borrow_mut(), out);
            Ok(())
        })?;
        self.normed.inplace_op2(&self.context, &layer.cross.out)?;
        add_to(&self.hidden, &self.normed)
    }
}
