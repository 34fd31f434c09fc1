//! Normalisation by the root mean square (Zhang and Sennrich, 2019), as T5 has it: no mean is taken off, no bias added.
//!
//! Works on rows of any width. Must not know about models.

use super::lanes::{Lanes, WIDTH, Wide};

/// `to = from / sqrt(mean(from^2) + eps) * weight`, row by row.
///
/// # Panics
/// If the slices differ in length or are no whole number of rows as wide as `weight`.
#[allow(clippy::cast_precision_loss)] // a row has far fewer than 2^24 columns
pub fn normalize_rms(from: &[f32], weight: &[f32], eps: f32, to: &mut [f32]) {
    let width = weight.len();
    assert!(from.len() == to.len() && from.len().is_multiple_of(width), "rows differ or have another width");
    for (from, to) in from.chunks_exact(width).zip(to.chunks_exact_mut(width)) {
        let scale = 1.0 / (dot::<Wide>(from, from) / width as f32 + eps).sqrt();
        for ((to, value), weight) in to.iter_mut().zip(from).zip(weight) {
            *to = value * scale * weight;
        }
    }
}

/// The sum of the products of two rows of one length; of the shorter one's length if they differ.
#[inline(always)]
#[must_use]
pub fn dot<L: Lanes>(a: &[f32], b: &[f32]) -> f32 {
    let mut total = L::splat(0.0);
    let (a, b) = (a.chunks_exact(WIDTH), b.chunks_exact(WIDTH));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        // SAFETY: a chunk is one vector.
        total = unsafe { L::load(a.as_ptr()).fma(L::load(b.as_ptr()), total) };
    }
    total.sum() + rest
}
