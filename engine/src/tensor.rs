//! The kernels as candle operations on candle tensors.
//!
//! Each is an in-place operation: it writes into a tensor that the model has allocated once and uses for all layers,
//! where candle's own operations allocate a result each and run softmax and layer norm on a thread pool. Promises
//! that only contiguous f32 tensors on the CPU are touched, and one thread. Must not know about any one model.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Storage, Tensor, bail};

use crate::kernels::attention::{Heads, attend};
use crate::kernels::matmul::{Finish, Packed, Rows, matmul};
use crate::kernels::norm::{Norm, add_and_normalize};

/// The values of a contiguous tensor.
pub(crate) fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("a contiguous tensor is expected") };
    match storage.as_slice::<f32>()?.get(start..end) {
        Some(values) => Ok(values),
        None => bail!("the layout reaches beyond its storage"),
    }
}

pub(crate) fn floats_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("a contiguous tensor is expected") };
    let CpuStorage::F32(values) = storage else { bail!("f32 is expected") };
    match values.get_mut(start..end) {
        Some(values) => Ok(values),
        None => bail!("the layout reaches beyond its storage"),
    }
}

/// Runs `f` on the values of a contiguous CPU tensor.
///
/// # Errors
/// If the tensor is not contiguous f32 on the CPU, or what `f` says.
pub fn with_floats<T>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(floats(storage, layout)?),
        _ => bail!("a CPU tensor is expected"),
    }
}

/// destination = finish(source W + bias), W packed.
pub struct Linear {
    /// One-dimensional, `packing::packed_len(k, n)`.
    pub packed: Tensor,
    pub bias: Tensor,
    pub k: usize,
    pub n: usize,
    pub finish: Finish,
}

impl InplaceOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, to: &mut CpuStorage, to_l: &Layout, from: &CpuStorage, from_l: &Layout) -> Result<()> {
        let (to, from) = (floats_mut(to, to_l)?, floats(from, from_l)?);
        let rows = from.len() / self.k;
        if from.len() != rows * self.k || to.len() != rows * self.n {
            bail!("linear {}x{}: {} values into {}", self.k, self.n, from.len(), to.len());
        }
        with_floats(&self.packed, |data| {
            with_floats(&self.bias, |bias| {
                let weights = Packed { data, k: self.k, n: self.n, bias };
                matmul(Rows { data: from, stride: self.k }, rows, weights, self.finish, to, self.n);
                Ok(())
            })
        })
    }
}

/// destination = norm(destination + source).
pub struct AddNorm {
    pub weight: Tensor,
    pub bias: Tensor,
    pub eps: f32,
}

impl AddNorm {
    /// Runs `f` with what this norm has learnt.
    ///
    /// # Errors
    /// See [`with_floats`].
    pub fn with<T>(&self, f: impl FnOnce(Norm<'_>) -> T) -> Result<T> {
        with_floats(&self.weight, |weight| with_floats(&self.bias, |bias| Ok(f(Norm { weight, bias, eps: self.eps }))))
    }
}

impl InplaceOp2 for AddNorm {
    fn name(&self) -> &'static str {
        "add-norm"
    }

    fn cpu_fwd(&self, to: &mut CpuStorage, to_l: &Layout, from: &CpuStorage, from_l: &Layout) -> Result<()> {
        let (to, from) = (floats_mut(to, to_l)?, floats(from, from_l)?);
        if to.len() != from.len() {
            bail!("add-norm: {} values and {}", to.len(), from.len());
        }
        self.with(|norm| add_and_normalize(to, from, norm))
    }
}

/// destination = attention(source), the source holding queries, keys and values of one text.
pub struct Attention<'a> {
    pub shape: Heads,
    pub scratch: &'a RefCell<Vec<f32>>,
}

impl InplaceOp2 for Attention<'_> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, to: &mut CpuStorage, to_l: &Layout, from: &CpuStorage, from_l: &Layout) -> Result<()> {
        let (to, from) = (floats_mut(to, to_l)?, floats(from, from_l)?);
        let tokens = to.len() / (self.shape.heads * self.shape.width);
        if from.len() != 3 * to.len() {
            bail!("attention: {} values into {}", from.len(), to.len());
        }
        attend(from, tokens, self.shape, &mut self.scratch.borrow_mut(), to);
        Ok(())
    }
}

/// destination = norm(word[id] + position[i] + the first type), row by row; the source is the word table.
pub struct Embed<'a> {
    /// Per row: token id and position within its text.
    pub rows: &'a [(u32, u32)],
    pub positions: &'a Tensor,
    pub types: &'a Tensor,
    pub norm: &'a AddNorm,
}

impl InplaceOp2 for Embed<'_> {
    fn name(&self) -> &'static str {
        "embed"
    }

    fn cpu_fwd(&self, to: &mut CpuStorage, to_l: &Layout, words: &CpuStorage, words_l: &Layout) -> Result<()> {
        let (to, words) = (floats_mut(to, to_l)?, floats(words, words_l)?);
        let Some(width) = to.len().checked_div(self.rows.len()) else {
            return Ok(());
        };
        with_floats(self.positions, |positions| {
            with_floats(self.types, |types| {
                let (Some(kind), true) = (types.get(..width), to.len() == width * self.rows.len()) else {
                    bail!("embed: {} values for {} rows", to.len(), self.rows.len())
                };
                for (row, (id, position)) in to.chunks_exact_mut(width).zip(self.rows) {
                    let word = words.chunks_exact(width).nth(*id as usize);
                    let place = positions.chunks_exact(width).nth(*position as usize);
                    let (Some(word), Some(place)) = (word, place) else {
                        bail!("embed: token {id} at {position} is outside the tables")
                    };
                    for (((value, word), place), kind) in row.iter_mut().zip(word).zip(place).zip(kind) {
                        *value = word + place + kind;
                    }
                }
                self.norm.with(|norm| {
                    for row in to.chunks_exact_mut(width) {
                        crate::kernels::norm::normalize_row::<crate::kernels::lanes::Wide>(row, norm);
                    }
                })
            })
        })
    }
}
