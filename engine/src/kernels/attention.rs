//! Self-attention of one text, head by head, a block of query rows at a time.
//!
//! For each head the keys and values are packed for the matrix kernel; then, for as many query rows as fit the
//! second-level cache, scores, softmax and the weighted sum of values follow one another. So no n x n matrix ever
//! exists: the memory is O(n * (block + 2 * head width)), known before and handed in by the caller.
//! The scale 1 / sqrt(head width) is expected to be in the query already. Must not know about batches or padding:
//! every token attends to every token of its text (Vaswani et al., 2017, without a mask), its scores changed by a bias
//! where a model has one.

use super::activation::exp;
use super::lanes::{Lanes, WIDTH, Wide};
use super::matmul::{Finish, Packed, Rows, TILE_ROWS, matmul};
use super::packing::{PANEL, Source, pack};

/// Scores kept at once, in floats: 48 KiB, a tenth of a second-level cache of 512 KiB. A block has at least 24 rows all
/// the same, so beyond 512 tokens it is more.
pub(super) const SCORE_BUDGET: usize = 12 * 1024;
/// The fewest query rows of a block, if there are so many, and the most.
pub(super) const LEAST_BLOCK: usize = 4 * TILE_ROWS;
pub const MOST_ROWS: usize = 32 * TILE_ROWS;

/// The shape of an attention: `heads` heads of `width` columns each.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    pub heads: usize,
    pub width: usize,
}

/// Query rows that are worked on together for a text of `tokens`.
pub(super) fn query_block(tokens: usize) -> usize {
    let fit = SCORE_BUDGET / tokens.next_multiple_of(PANEL).max(1);
    (fit / TILE_ROWS * TILE_ROWS).clamp(LEAST_BLOCK, MOST_ROWS).min(tokens)
}

/// Floats of scratch with which [`attend`] can do every text of at most `tokens`, or nothing if that can't be represented.
///
/// Not what a text of exactly `tokens` needs: a shorter one may need more, because its blocks have more rows.
#[must_use]
pub fn scratch_len(tokens: usize, shape: Heads) -> Option<usize> {
    let padded = tokens.checked_next_multiple_of(PANEL)?;
    let width = shape.width.checked_next_multiple_of(PANEL)?;
    let packs = padded.checked_mul(shape.width)?.checked_add(tokens.checked_mul(width)?)?;
    // Of all blocks: either the scores fit the budget, or the block has the fewest rows.
    let most = tokens.min(32 * TILE_ROWS);
    let scores = most.checked_mul(padded)?.min(SCORE_BUDGET).max(tokens.min(4 * TILE_ROWS).checked_mul(padded)?);
    packs.checked_add(scores)?.checked_add(most.checked_mul(width)?)
}

/// `out = softmax(q k^T) v`, heads side by side.
///
/// `qkv` holds per token: all queries, all keys, all values, each `heads * width` floats. `out` holds `heads * width`
/// floats per token. `scratch` holds at least [`scratch_len`].
///
/// # Panics
/// If a slice is shorter than the sizes say.
pub fn attend(qkv: &[f32], tokens: usize, shape: Heads, scratch: &mut [f32], out: &mut [f32]) {
    attend_biased(qkv, tokens, shape, |_, _, _| (), scratch, out);
}

/// [`attend`], with `bias(head, query, scores)` called on each row of scores (one per key) before its softmax.
///
/// # Panics
/// If a slice is shorter than the sizes say.
pub fn attend_biased(
    qkv: &[f32],
    tokens: usize,
    shape: Heads,
    bias: impl Fn(usize, usize, &mut [f32]),
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let Heads { heads, width } = shape;
    let hidden = heads * width;
    assert!(qkv.len() == tokens * 3 * hidden && out.len() == tokens * hidden, "attention sizes differ");
    if tokens == 0 {
        return;
    }
    let padded = tokens.next_multiple_of(PANEL);
    let wide = width.next_multiple_of(PANEL);
    let block = query_block(tokens);
    let (keys, rest) = scratch.split_at_mut(padded * width);
    let (values, rest) = rest.split_at_mut(tokens * wide);
    let (scores, rest) = rest.split_at_mut(block * padded);
    let sums = &mut rest[..block * wide];
    let stride = 3 * hidden;
    for head in 0..heads {
        let column = head * width;
        let key = Source { data: &qkv[hidden + column..], row_stride: 1, column_stride: stride };
        pack(key, width, tokens, 1.0, keys);
        let value = Source { data: &qkv[2 * hidden + column..], row_stride: stride, column_stride: 1 };
        pack(value, tokens, width, 1.0, values);
        let keys = Packed { data: keys, k: width, n: tokens, bias: &[] };
        let values = Packed { data: values, k: tokens, n: width, bias: &[] };
        for first in (0..tokens).step_by(block) {
            let rows = block.min(tokens - first);
            let query = Rows { data: &qkv[first * stride + column..], stride };
            matmul(query, rows, keys, Finish::Nothing, scores, padded);
            for (r, row) in scores.chunks_exact_mut(padded).take(rows).enumerate() {
                bias(head, first + r, &mut row[..tokens]);
            }
            matmul_weights(scores, rows, padded, values, sums);
            for r in 0..rows {
                let to = &mut out[(first + r) * hidden + column..][..width];
                to.copy_from_slice(&sums[r * wide..r * wide + width]);
            }
        }
    }
}

/// Softmax over each row of scores, then the weighted sum of the values. The division by the sum of the weights is
/// done on the result, which is narrower than the scores. At most `MOST_ROWS` rows.
pub(super) fn matmul_weights(scores: &mut [f32], rows: usize, padded: usize, values: Packed<'_>, sums: &mut [f32]) {
    let wide = values.n.next_multiple_of(PANEL);
    let mut totals = [0.0_f32; MOST_ROWS];
    for (total, row) in totals.iter_mut().zip(scores.chunks_exact_mut(padded).take(rows)) {
        *total = exponentials::<Wide>(&mut row[..values.k]);
    }
    matmul(Rows { data: scores, stride: padded }, rows, values, Finish::Nothing, sums, wide);
    for (total, row) in totals.iter().zip(sums.chunks_exact_mut(wide).take(rows)) {
        let scale = 1.0 / total;
        for value in row {
            *value *= scale;
        }
    }
}

/// Replaces a row by exp(x - largest) and returns the sum, which is at least 1.
pub fn exponentials<L: Lanes>(row: &mut [f32]) -> f32 {
    let mut largest = L::splat(f32::NEG_INFINITY);
    let whole = row.len() / WIDTH * WIDTH;
    let (body, tail) = row.split_at_mut(whole);
    for lane in body.chunks_exact(WIDTH) {
        // SAFETY: a chunk is one vector.
        largest = largest.max(unsafe { L::load(lane.as_ptr()) });
    }
    let top = tail.iter().copied().fold(largest.largest(), f32::max);
    let shift = L::splat(top);
    let mut total = L::splat(0.0);
    for lane in body.chunks_exact_mut(WIDTH) {
        // SAFETY: a chunk is one vector.
        let e = exp(unsafe { L::load(lane.as_ptr()) }.sub(shift));
        total = total.add(e);
        // SAFETY: as above.
        unsafe { e.store(lane.as_mut_ptr()) };
    }
    let mut sum = total.sum();
    if !tail.is_empty() {
        let mut last = [f32::NEG_INFINITY; WIDTH];
        last[..tail.len()].copy_from_slice(tail);
        // SAFETY: `last` is one vector.
        unsafe { exp(L::load(last.as_ptr()).sub(shift)).store(last.as_mut_ptr()) };
        tail.copy_from_slice(&last[..tail.len()]);
        sum += tail.iter().sum::<f32>();
    }
    sum
}
