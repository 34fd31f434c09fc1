//! The linear layers of a model, packed into one run of huge pages as they are read.
//!
//! Decides where in the run each matrix lies: one after another, in the order of packing. The run is allocated once,
//! from sizes that were compared with the limit before. Must not know what a matrix is used for.

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};
use crate::inplace::write;
use crate::kernels::matmul::Finish;
use crate::kernels::packing::{Source, pack, packed_len};
use crate::tensor::{Linear, with_floats};

/// Bytes of packed matrices of these sizes (k, n), or nothing if the number can't be represented.
#[must_use]
pub fn packed_bytes(sizes: impl IntoIterator<Item = (usize, usize)>) -> Option<u64> {
    let mut floats = sizes.into_iter().map(|(k, n)| packed_len(k, n));
    let floats = floats.try_fold(0_usize, |sum, len| sum.checked_add(len?))?;
    u64::try_from(floats.checked_mul(4)?).ok()
}

/// Bytes that a model's parameters take when these matrices are packed and the rest stays as it is.
#[must_use]
pub fn weight_bytes(sizes: impl IntoIterator<Item = (usize, usize)>, packed: u64, parameters: u64) -> u64 {
    let dense = sizes.into_iter().map(|(k, n)| (k as u64).saturating_mul(n as u64)).fold(0, u64::saturating_add);
    packed.saturating_add(parameters.saturating_sub(dense).saturating_mul(4))
}

/// A run that is being filled.
pub struct Linears {
    run: Tensor,
    used: usize,
}

impl Linears {
    /// Room for `bytes` of packed matrices.
    ///
    /// # Errors
    /// `BadWeights` if that many can't be addressed.
    pub fn new(bytes: Option<u64>) -> Result<Self> {
        let floats = bytes.and_then(|bytes| usize::try_from(bytes / 4).ok());
        let floats = floats.ok_or_else(|| Error::BadWeights("config.json: the sizes overflow".to_owned()))?;
        Ok(Self { run: Tensor::zeros(floats, DType::F32, &Device::Cpu)?, used: 0 })
    }

    /// Packs matrices as published, one row per output, side by side, each times its scale. Without a bias, hand in an
    /// empty one.
    ///
    /// # Errors
    /// `Internal` if the run was planned too short.
    pub fn linear(&mut self, parts: &[(&Tensor, f32)], bias: Tensor, finish: Finish) -> Result<Linear> {
        let k = parts.first().map_or(0, |(part, _)| part.elem_count() / part.dims().first().copied().unwrap_or(1));
        let n = parts.iter().map(|(part, _)| part.dims().first().copied().unwrap_or(0)).sum();
        let len = packed_len(k, n).filter(|len| self.used + len <= self.run.elem_count());
        let len = len.ok_or_else(|| Error::Internal("packed matrices are longer than planned".to_owned()))?;
        let packed = self.run.narrow(0, self.used, len)?;
        let mut joined = Vec::with_capacity(k * n);
        for (part, scale) in parts {
            with_floats(&part.contiguous()?, |data| {
                joined.extend(data.iter().map(|value| value * scale));
                Ok(())
            })?;
        }
        write(&packed, |into| {
            pack(Source { data: &joined, row_stride: 1, column_stride: k }, k, n, 1.0, into);
            Ok(())
        })?;
        self.used += len;
        Ok(Linear { packed, bias, k, n, finish })
    }

    /// A bias for matrices that have none.
    ///
    /// # Errors
    /// None in practice.
    pub fn no_bias() -> Result<Tensor> {
        Ok(Tensor::zeros(0, DType::F32, &Device::Cpu)?)
    }
}
