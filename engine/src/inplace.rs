//! Any kernel as a candle operation: a function on the values of a tensor, and perhaps of a second one.
//!
//! For kernels that are used in one place each; those that several models share have a type of their own in `tensor`.
//! Promises what `tensor` promises: contiguous f32 on the CPU, written in place, one thread.

use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Tensor};

use crate::tensor::{floats, floats_mut};

struct Kernel<F>(F);

impl<F: Fn(&mut [f32]) -> candle_core::Result<()>> InplaceOp1 for Kernel<F> {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn cpu_fwd(&self, to: &mut CpuStorage, to_l: &Layout) -> candle_core::Result<()> {
        (self.0)(floats_mut(to, to_l)?)
    }
}

impl<F: Fn(&mut [f32], &[f32]) -> candle_core::Result<()>> InplaceOp2 for Kernel<F> {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn cpu_fwd(
        &self,
        to: &mut CpuStorage,
        to_l: &Layout,
        from: &CpuStorage,
        from_l: &Layout,
    ) -> candle_core::Result<()> {
        (self.0)(floats_mut(to, to_l)?, floats(from, from_l)?)
    }
}

/// Runs `f` on the values of `to`.
///
/// # Errors
/// If the tensor is not contiguous f32 on the CPU, or what `f` says.
pub fn write(to: &Tensor, f: impl Fn(&mut [f32]) -> candle_core::Result<()>) -> candle_core::Result<()> {
    to.inplace_op1(&Kernel(f))
}

/// Runs `f` on the values of `to` and those of `from`, a tensor of other storage.
///
/// # Errors
/// If a tensor is not contiguous f32 on the CPU, or what `f` says.
pub fn combine(
    to: &Tensor,
    from: &Tensor,
    f: impl Fn(&mut [f32], &[f32]) -> candle_core::Result<()>,
) -> candle_core::Result<()> {
    to.inplace_op2(from, &Kernel(f))
}
