//! Causal attention against kept keys and values, with fewer heads of these than of queries.
//!
//! Keys and values are kept in the layout in which the matrix kernel reads its right-hand side, so a new position is
//! written once and never moved, and no n x n matrix ever exists: scores are there for one head and a block of rows.
//! Row r of the queries is at position `first + r` and sees positions 0 to itself (Vaswani et al., 2017; grouped heads:
//! Ainslie et al., GQA, 2023). The scale 1 / sqrt(head width) is expected to be in the query already. Promises no
//! allocation: all memory is handed in. Must not know where queries come from.

use super::attention::{LEAST_BLOCK, MOST_ROWS, SCORE_BUDGET, exponentials, query_block};
use super::lanes::Wide;
use super::matmul::{Finish, Packed, Rows, matmul};
use super::packing::PANEL;

/// `heads` query heads of `width` columns, a multiple of `kv_heads` heads of keys and values.
#[derive(Clone, Copy, Debug)]
pub struct Groups {
    pub heads: usize,
    pub kv_heads: usize,
    pub width: usize,
}

/// Room for the keys and values of one layer: `capacity` positions.
pub struct KeyValues<'a> {
    pub keys: &'a mut [f32],
    pub values: &'a mut [f32],
    pub capacity: usize,
}

/// Floats of the keys and of the values of one layer, or nothing if the number can't be represented.
#[must_use]
pub fn cache_len(capacity: usize, shape: Groups) -> Option<(usize, usize)> {
    let keys = capacity.checked_next_multiple_of(PANEL)?.checked_mul(shape.width)?.checked_mul(shape.kv_heads)?;
    let values = shape.width.checked_next_multiple_of(PANEL)?.checked_mul(capacity)?.checked_mul(shape.kv_heads)?;
    Some((keys, values))
}

/// Floats of scratch for queries of any number of rows that see up to `capacity` positions, or nothing as above.
#[must_use]
pub fn scratch_len(capacity: usize, shape: Groups) -> Option<usize> {
    let rows = LEAST_BLOCK.max(shape.heads / shape.kv_heads);
    let scores = capacity.checked_next_multiple_of(PANEL)?.checked_mul(rows)?.max(SCORE_BUDGET);
    scores.checked_add(shape.width.checked_next_multiple_of(PANEL)?.checked_mul(MOST_ROWS)?)
}

impl KeyValues<'_> {
    /// Keeps one position's key and value, heads side by side.
    ///
    /// # Panics
    /// If the position is beyond the capacity or a slice is shorter than the shape says.
    pub fn keep(&mut self, position: usize, key: &[f32], value: &[f32], shape: Groups) {
        assert!(position < self.capacity, "position beyond the cache");
        let (width, panels) = (shape.width, shape.width.div_ceil(PANEL));
        let keys_of_head = self.capacity.next_multiple_of(PANEL) * width;
        let (panel, column) = (position / PANEL, position % PANEL);
        for (head, key) in key.chunks_exact(width).enumerate().take(shape.kv_heads) {
            let into = &mut self.keys[head * keys_of_head + panel * PANEL * width..][..PANEL * width];
            for (line, value) in into.chunks_exact_mut(PANEL).zip(key) {
                line[column] = *value;
            }
        }
        for (head, value) in value.chunks_exact(width).enumerate().take(shape.kv_heads) {
            for (panel, part) in value.chunks(PANEL).enumerate() {
                let line = ((head * panels + panel) * self.capacity + position) * PANEL;
                self.values[line..line + part.len()].copy_from_slice(part);
            }
        }
    }

    /// `out = attention(queries)`: `rows` rows of all heads side by side, at positions `first..first + rows`, all kept.
    ///
    /// `before_head` is asked before each head of keys: its error ends the work.
    ///
    /// # Errors
    /// What `before_head` says.
    ///
    /// # Panics
    /// If a slice is shorter than the sizes say.
    pub fn attend<E>(
        &self,
        queries: Rows<'_>,
        (first, rows): (usize, usize),
        shape: Groups,
        scratch: &mut [f32],
        out: &mut [f32],
        mut before_head: impl FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        let Groups { heads, kv_heads, width } = shape;
        let group = heads / kv_heads;
        for kv_head in 0..kv_heads {
            before_head()?;
            let head = kv_head * group;
            if rows == 1 {
                // The heads of a group see the same positions: they are the rows of one product.
                let query = Rows { data: &queries.data[head * width..], stride: width };
                let block = Block { first, rows: group, same: true };
                self.block(query, &block, kv_head, shape, scratch, (&mut out[head * width..], width));
                continue;
            }
            for head in head..head + group {
                let step = query_block(first + rows);
                for start in (0..rows).step_by(step) {
                    let at = start * queries.stride + head * width;
                    let query = Rows { data: &queries.data[at..], stride: queries.stride };
                    let block = Block { first: first + start, rows: step.min(rows - start), same: false };
                    let out = &mut out[start * heads * width + head * width..];
                    self.block(query, &block, kv_head, shape, scratch, (out, heads * width));
                }
            }
        }
        Ok(())
    }

    fn block(
        &self,
        query: Rows<'_>,
        block: &Block,
        kv_head: usize,
        shape: Groups,
        scratch: &mut [f32],
        (out, out_stride): (&mut [f32], usize),
    ) {
        let (width, rows) = (shape.width, block.rows);
        let (panels, wide) = (width.div_ceil(PANEL), width.next_multiple_of(PANEL));
        let seen = block.seen(rows - 1);
        let padded = seen.next_multiple_of(PANEL);
        let (scores, sums) = scratch.split_at_mut(rows * padded);
        let keys_of_head = self.capacity.next_multiple_of(PANEL) * width;
        let keys = &self.keys[kv_head * keys_of_head..][..padded * width];
        matmul(query, rows, Packed { data: keys, k: width, n: seen, bias: &[] }, Finish::Nothing, scores, padded);
        let mut totals = [0.0_f32; MOST_ROWS];
        for (r, row) in scores.chunks_exact_mut(padded).enumerate() {
            let (visible, future) = row[..seen].split_at_mut(block.seen(r));
            totals[r] = exponentials::<Wide>(visible);
            future.fill(0.0);
        }
        let weights = Rows { data: scores, stride: padded };
        for panel in 0..panels {
            let columns = PANEL.min(width - panel * PANEL);
            let at = (kv_head * panels + panel) * self.capacity * PANEL;
            let values = Packed { data: &self.values[at..at + seen * PANEL], k: seen, n: columns, bias: &[] };
            matmul(weights, rows, values, Finish::Nothing, &mut sums[panel * PANEL..], wide);
        }
        for (r, total) in totals.iter().enumerate().take(rows) {
            let scale = 1.0 / total;
            for (to, sum) in out[r * out_stride..][..width].iter_mut().zip(&sums[r * wide..]) {
                *to = sum * scale;
            }
        }
    }
}

/// Rows that are worked on together.
struct Block {
    first: usize,
    rows: usize,
    /// Whether the rows are at one position, or at one each.
    same: bool,
}

impl Block {
    /// Positions that row `r` sees.
    fn seen(&self, r: usize) -> usize {
        self.first + 1 + if self.same { 0 } else { r }
    }
}
