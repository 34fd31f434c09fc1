//! Attention of one new token to itself and the tokens before it, whose keys and values are kept.
//!
//! The cache is laid out head by head, so that the keys of one head are read front to back; its whole size is known
//! before the first token. The scale is expected to be in the query. Must not know how a token was chosen.

use super::attention::{Heads, exponentials};
use super::lanes::{Lanes, WIDTH, Wide};

/// The keys and values of one sequence: `heads * capacity * width` floats each.
pub struct Cache<'a> {
    pub keys: &'a mut [f32],
    pub values: &'a mut [f32],
    pub capacity: usize,
}

/// Puts token `at` into the cache and attends from it to the tokens 0 to `at`.
///
/// `qkv` holds the queries, keys and values of the token, `heads * width` floats each. `bias` holds per head what is
/// added to the score of a key so many tokens back, `capacity` floats each. `scores` holds `capacity` floats.
///
/// # Panics
/// If `at` is beyond the capacity or a slice has another size than the numbers say.
pub fn attend_step(
    qkv: &[f32],
    cache: &mut Cache<'_>,
    at: usize,
    (shape, bias): (Heads, &[f32]),
    scores: &mut [f32],
    out: &mut [f32],
) {
    let Heads { heads, width } = shape;
    let hidden = heads * width;
    let size = cache.capacity * width;
    assert!(qkv.len() == 3 * hidden && out.len() == hidden && at < cache.capacity, "step sizes differ");
    assert!(cache.keys.len() == heads * size && cache.values.len() == heads * size, "cache has another size");
    let scores = &mut scores[..=at];
    for head in 0..heads {
        let columns = head * width..(head + 1) * width;
        let (query, key) = (&qkv[columns.clone()], &qkv[hidden..][columns.clone()]);
        let value = &qkv[2 * hidden..][columns.clone()];
        let keys = &mut cache.keys[head * size..][..(at + 1) * width];
        let values = &mut cache.values[head * size..][..(at + 1) * width];
        keys[at * width..].copy_from_slice(key);
        values[at * width..].copy_from_slice(value);
        let back = bias[head * cache.capacity..][..=at].iter().rev();
        for ((score, key), bias) in scores.iter_mut().zip(keys.chunks_exact(width)).zip(back) {
            *score = dot::<Wide>(query, key) + bias;
        }
        let scale = 1.0 / exponentials::<Wide>(scores);
        let to = &mut out[columns];
        to.fill(0.0);
        for (weight, value) in scores.iter().zip(values.chunks_exact(width)) {
            for (to, value) in to.iter_mut().zip(value) {
                *to = weight.mul_add(*value, *to);
            }
        }
        for to in to {
            *to *= scale;
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
