//! GFLOP/s of square products on one thread: candle's own (the gemm crate) and this engine's kernel.
//!
//! Prints two numbers. `benches/engine.py` runs it beside the other measurements; `RAYON_NUM_THREADS=1` must be set,
//! or candle uses more threads and the comparison is void.

#![allow(clippy::cast_precision_loss)]

use std::time::Duration;

use _engine::kernels::matmul::{Finish, Packed, Rows, matmul};
use _engine::kernels::packing::{Source, pack, packed_len};
use candle_core::{Device, Tensor};

const N: usize = 1536;

fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to the struct given.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn gflops(mut product: impl FnMut()) -> f64 {
    product();
    let start = cpu_time();
    product();
    2.0 * (N * N * N) as f64 / cpu_time().saturating_sub(start).as_secs_f64() / 1e9
}

fn main() -> candle_core::Result<()> {
    let a = Tensor::randn(0.0_f32, 1.0, (N, N), &Device::Cpu)?;
    let b = Tensor::randn(0.0_f32, 1.0, (N, N), &Device::Cpu)?;
    let candle = gflops(|| drop(std::hint::black_box(a.matmul(&b))));
    let (a, b) = (a.flatten_all()?.to_vec1::<f32>()?, b.flatten_all()?.to_vec1::<f32>()?);
    let mut data = vec![0.0; packed_len(N, N).unwrap_or(0)];
    pack(Source { data: &b, row_stride: N, column_stride: 1 }, N, N, 1.0, &mut data);
    let mut c = vec![0.0; N * N];
    let weights = Packed { data: &data, k: N, n: N, bias: &[] };
    let own = gflops(|| matmul(Rows { data: &a, stride: N }, N, weights, Finish::Nothing, &mut c, N));
    println!("{candle:.2} {own:.2}");
    Ok(())
}
