//! Attention of some rows to a memory that stays the same: a decoder looking at what the encoder made.
//!
//! Keys and values are packed once, head by head, and then serve every step and every row. Promises no allocation.
//! The scale is expected to be in the query. Must not know what a step is.

use super::attention::{Heads, MOST_ROWS, matmul_weights};
use super::matmul::{Finish, Packed, Rows, matmul};
use super::packing::{PANEL, Source, pack, packed_len};

/// Floats that a packed memory of `tokens` takes, or nothing if that can't be represented.
#[must_use]
pub fn memory_len(tokens: usize, shape: Heads) -> Option<usize> {
    let head = packed_len(shape.width, tokens)?.checked_add(packed_len(tokens, shape.width)?)?;
    head.checked_mul(shape.heads)
}

/// Floats of scratch that [`attend_memory`] needs for `rows` rows, or nothing if that can't be represented.
#[must_use]
pub fn scratch_len(rows: usize, tokens: usize, shape: Heads) -> Option<usize> {
    let width = shape.width.checked_next_multiple_of(PANEL)?;
    rows.checked_mul(tokens.checked_next_multiple_of(PANEL)?.checked_add(width)?)
}

/// Packs a memory. `source` holds per token: all keys, all values, each `heads * width` floats.
///
/// # Panics
/// If a slice has another size than the numbers say.
pub fn pack_memory(source: &[f32], tokens: usize, shape: Heads, into: &mut [f32]) {
    let Heads { heads, width } = shape;
    let hidden = heads * width;
    assert!(source.len() == tokens * 2 * hidden, "memory has another size");
    let (keys, values) = (width * tokens.next_multiple_of(PANEL), tokens * width.next_multiple_of(PANEL));
    assert!(into.len() == heads * (keys + values), "packed memory has another size");
    for (head, into) in into.chunks_exact_mut(keys + values).enumerate() {
        let (packed_keys, packed_values) = into.split_at_mut(keys);
        let key = Source { data: &source[head * width..], row_stride: 1, column_stride: 2 * hidden };
        pack(key, width, tokens, 1.0, packed_keys);
        let value = Source { data: &source[hidden + head * width..], row_stride: 2 * hidden, column_stride: 1 };
        pack(value, tokens, width, 1.0, packed_values);
    }
}

/// `out = softmax(q k^T) v` for up to `MOST_ROWS` rows of queries, heads side by side.
///
/// # Panics
/// If there are more rows, or a slice is shorter than the sizes say.
pub fn attend_memory(
    queries: &[f32],
    memory: &[f32],
    tokens: usize,
    shape: Heads,
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let Heads { heads, width } = shape;
    let hidden = heads * width;
    let rows = queries.len() / hidden;
    assert!(rows <= MOST_ROWS && queries.len() == rows * hidden && out.len() == queries.len(), "row sizes differ");
    let (padded, wide) = (tokens.next_multiple_of(PANEL), width.next_multiple_of(PANEL));
    let (keys, values) = (width * padded, tokens * wide);
    assert!(memory.len() == heads * (keys + values) && tokens > 0, "packed memory has another size");
    let (scores, rest) = scratch.split_at_mut(rows * padded);
    let sums = &mut rest[..rows * wide];
    for (head, packed) in memory.chunks_exact(keys + values).enumerate() {
        let (packed_keys, packed_values) = packed.split_at(keys);
        let query = Rows { data: &queries[head * width..], stride: hidden };
        let keys = Packed { data: packed_keys, k: width, n: tokens, bias: &[] };
        matmul(query, rows, keys, Finish::Nothing, scores, padded);
        let values = Packed { data: packed_values, k: tokens, n: width, bias: &[] };
        matmul_weights(scores, rows, padded, values, sums);
        for (to, from) in out.chunks_exact_mut(hidden).zip(sums.chunks_exact(wide)) {
            to[head * width..][..width].copy_from_slice(&from[..width]);
        }
    }
}
