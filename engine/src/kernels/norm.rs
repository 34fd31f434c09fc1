//! Layer normalisation, root-mean-square normalisation, mean pooling and unit length.
//!
//! Promises results as in Ba, Kiros and Hinton (Layer Normalization, 2016) with the biased variance, as BERT has it, and
//! in Zhang and Sennrich (Root Mean Square Layer Normalization, 2019).
//! Works on rows of any width. Must not know about models.

use super::lanes::{Lanes, WIDTH, Wide};

/// What a layer normalisation has learnt. `weight` and `bias` are as long as a row.
#[derive(Clone, Copy)]
pub struct Norm<'a> {
    pub weight: &'a [f32],
    pub bias: &'a [f32],
    pub eps: f32,
}

/// `row = norm(row + delta)` for each row of `width` floats.
///
/// # Panics
/// If the slices differ in length or are no whole number of rows.
pub fn add_and_normalize(rows: &mut [f32], delta: &[f32], norm: Norm<'_>) {
    assert_eq!(rows.len(), delta.len(), "rows and delta differ");
    let width = norm.weight.len();
    for (row, delta) in rows.chunks_exact_mut(width).zip(delta.chunks_exact(width)) {
        for (value, d) in row.iter_mut().zip(delta) {
            *value += d;
        }
        normalize_row::<Wide>(row, norm);
    }
}

/// Normalises one row in place.
///
/// # Panics
/// If the row is not as wide as the weight and the bias.
#[allow(clippy::cast_precision_loss)] // a row has far fewer than 2^24 columns
pub fn normalize_row<L: Lanes>(row: &mut [f32], norm: Norm<'_>) {
    let width = row.len();
    assert!(norm.weight.len() == width && norm.bias.len() == width, "norm has another width");
    let mean = sum::<L>(row, 0.0, |x| x) / width as f32;
    let centre = L::splat(mean);
    let spread = sum::<L>(row, mean, |x| {
        let d = x.sub(centre);
        d.mul(d)
    });
    let variance = spread / width as f32;
    let scale = 1.0 / (variance + norm.eps).sqrt();
    for ((value, weight), bias) in row.iter_mut().zip(norm.weight).zip(norm.bias) {
        *value = ((*value - mean) * scale).mul_add(*weight, *bias);
    }
}

/// `into = row / root of the mean square * weight`, row by row.
///
/// # Panics
/// If the slices are no whole number of rows as wide as the weight, or differ in length.
#[allow(clippy::cast_precision_loss)] // a row has far fewer than 2^24 columns
pub fn normalize_by_square(rows: &[f32], weight: &[f32], eps: f32, into: &mut [f32]) {
    let width = weight.len();
    assert!(rows.len() == into.len() && rows.len().is_multiple_of(width), "no whole number of rows");
    for (row, into) in rows.chunks_exact(width).zip(into.chunks_exact_mut(width)) {
        let scale = 1.0 / (sum::<Wide>(row, 0.0, |x| x.mul(x)) / width as f32 + eps).sqrt();
        for ((to, value), weight) in into.iter_mut().zip(row).zip(weight) {
            *to = value * scale * weight;
        }
    }
}

/// The sum of `f` over a row whose last vector is filled up with `filler`, a value that `f` makes zero.
#[inline(always)]
fn sum<L: Lanes>(row: &[f32], filler: f32, f: impl Fn(L) -> L) -> f32 {
    let mut total = [L::splat(0.0); 2];
    let mut pairs = row.chunks_exact(2 * WIDTH);
    for pair in &mut pairs {
        // SAFETY: a pair is two vectors.
        let (low, high) = unsafe { (L::load(pair.as_ptr()), L::load(pair.as_ptr().add(WIDTH))) };
        total = [total[0].add(f(low)), total[1].add(f(high))];
    }
    for rest in pairs.remainder().chunks(WIDTH) {
        let mut last = [filler; WIDTH];
        last[..rest.len()].copy_from_slice(rest);
        // SAFETY: `last` is one vector.
        total[0] = total[0].add(f(unsafe { L::load(last.as_ptr()) }));
    }
    total[0].add(total[1]).sum()
}

/// `into = mean of the rows`.
///
/// # Panics
/// If `rows` is empty or no whole number of rows as wide as `into`.
#[allow(clippy::cast_precision_loss)] // as many rows as a text has tokens
pub fn mean_of_rows(rows: &[f32], into: &mut [f32]) {
    assert!(!rows.is_empty() && rows.len().is_multiple_of(into.len()), "no whole number of rows");
    into.fill(0.0);
    for row in rows.chunks_exact(into.len()) {
        for (total, value) in into.iter_mut().zip(row) {
            *total += value;
        }
    }
    let scale = 1.0 / (rows.len() / into.len()) as f32;
    for total in into {
        *total *= scale;
    }
}

/// Divides a vector by its length; a vector of zeros stays as it is.
pub fn to_unit_length(vector: &mut [f32]) {
    let length = sum::<Wide>(vector, 0.0, |x| x.mul(x)).sqrt();
    if length > 0.0 {
        let scale = 1.0 / length.max(1e-12);
        for value in vector {
            *value *= scale;
        }
    }
}
