//! The matrices of a model, packed one after another into one run of huge pages at load.
//!
//! See `kernels::packing` for why they are packed and not read from the mapped file. Must not know any architecture.

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::kernels::packing::{Source, pack, packed_len};
use crate::tensor::with_floats;

/// Packs matrices one after another into one run of memory.
pub struct Packer {
    run: Vec<f32>,
    used: usize,
}

impl Packer {
    /// Room for `floats` in all.
    #[must_use]
    pub fn new(floats: usize) -> Self {
        Self { run: vec![0.0; floats], used: 0 }
    }

    /// The run with everything that was packed.
    #[must_use]
    pub fn finish(self) -> Vec<f32> {
        self.run
    }

    /// Packs `parts`, matrices of `rows` x k (as published: one row per output), side by side; returns the offset.
    ///
    /// # Errors
    /// `Internal` if the room is used up.
    pub fn pack(&mut self, parts: &[(&Tensor, f32)], k: usize) -> Result<usize> {
        let n = parts.iter().map(|(part, _)| part.dims().first().copied().unwrap_or(0)).sum();
        let start = self.used;
        let too_long = || Error::Internal("packed matrices are longer than planned".to_owned());
        let end = packed_len(k, n).and_then(|len| len.checked_add(start)).ok_or_else(too_long)?;
        let into = self.run.get_mut(start..end).ok_or_else(too_long)?;
        let mut joined = Vec::with_capacity(if parts.len() > 1 { k * n } else { 0 });
        if let [(part, scale)] = parts {
            with_floats(part, |data| {
                pack(Source { data, row_stride: 1, column_stride: k }, k, n, *scale, into);
                Ok(())
            })?;
        } else {
            for (part, scale) in parts {
                with_floats(part, |data| {
                    joined.extend(data.iter().map(|value| value * scale));
                    Ok(())
                })?;
            }
            pack(Source { data: &joined, row_stride: 1, column_stride: k }, k, n, 1.0, into);
        }
        self.used = end;
        Ok(start)
    }
}
