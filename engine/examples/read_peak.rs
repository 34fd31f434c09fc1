//! GB/s at which one thread of this machine reads memory: the bound of writing one token after another.
//!
//! Prints one number: the best of several passes over 256 MiB, each line fetched once and added up in vectors.

#![allow(clippy::cast_precision_loss)]

use std::time::Instant;

use _engine::kernels::lanes::{Lanes, WIDTH, Wide};

const FLOATS: usize = 64 << 20;
const STREAMS: usize = 8;

fn main() {
    let data = vec![1.0_f32; FLOATS];
    let mut best = 0.0_f64;
    for _ in 0..8 {
        let started = Instant::now();
        let mut sums = [Wide::splat(0.0); STREAMS];
        for block in data.chunks_exact(STREAMS * WIDTH) {
            for (sum, lane) in sums.iter_mut().zip(block.chunks_exact(WIDTH)) {
                // SAFETY: a chunk is one vector.
                *sum = sum.add(unsafe { Wide::load(lane.as_ptr()) });
            }
        }
        let total: f32 = sums.into_iter().map(Lanes::sum).sum();
        std::hint::black_box(total);
        best = best.max((FLOATS * 4) as f64 / started.elapsed().as_secs_f64() / 1e9);
    }
    println!("{best:.2}");
}
