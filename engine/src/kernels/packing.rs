//! The layout in which the right-hand side of a product is kept.
//!
//! A k x n matrix is cut into blocks of at most `K_BLOCK` rows, each block into panels of `PANEL` columns, each panel
//! stored row by row: a micro-kernel then reads it front to back, one cache line per step, and a panel (24 KiB) stays
//! in the first-level cache while all rows of the left-hand side pass by. Columns beyond n are zeros.
//! Packing is pure data movement; it starts no thread and computes nothing but an optional scale.
//!
//! Why packed copies on huge pages and not the mapped file as it is: reading 4 GiB of weights for the first time after a
//! fork took 18 ms from huge pages and 260 ms from a mapped file (its pages are faulted in by every child), killing the
//! child 4 ms and 140 ms, against 4 ms and 1 ms for the fork itself (`benches/results/engine.md`). And a product by an
//! unpacked matrix would have to pack it at every call, which short texts can't pay for.

use super::matmul::Packed;

/// Columns of a panel: two vectors of eight, one cache line.
pub const PANEL: usize = 16;
/// Rows of a block: 384 x 16 floats are 24 KiB of a 32 KiB first-level cache.
pub const K_BLOCK: usize = 384;

/// Floats that a packed k x n matrix takes, or nothing if the number can't be represented.
#[must_use]
pub fn packed_len(k: usize, n: usize) -> Option<usize> {
    n.checked_next_multiple_of(PANEL)?.checked_mul(k)
}

/// Where the panel of column group `panel` begins in block `k0`, whose height is `kc`.
#[inline]
pub(super) fn panel_offset(k0: usize, kc: usize, panel: usize, n_padded: usize) -> usize {
    k0 * n_padded + panel * PANEL * kc
}

/// A matrix to pack: element (row, column) is `data[row * row_stride + column * column_stride]`.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub data: &'a [f32],
    pub row_stride: usize,
    pub column_stride: usize,
}

/// Packs a k x n matrix, times `scale`, into `into` (`packed_len(k, n)` floats).
///
/// # Panics
/// If a slice is shorter than the sizes say.
pub fn pack(source: Source<'_>, k: usize, n: usize, scale: f32, into: &mut [f32]) {
    let n_padded = n.next_multiple_of(PANEL);
    assert_eq!(into.len(), n_padded * k, "packed matrix has another size");
    for k0 in (0..k).step_by(K_BLOCK) {
        let kc = K_BLOCK.min(k - k0);
        for panel in 0..n_padded / PANEL {
            let at = panel_offset(k0, kc, panel, n_padded);
            let columns = PANEL.min(n - panel * PANEL);
            pack_panel(source, (k0, panel * PANEL, columns), scale, &mut into[at..at + kc * PANEL]);
        }
    }
}

/// Reads one column of a packed matrix back, `k` floats.
///
/// # Panics
/// If there is no such column or a slice is shorter than the sizes say.
pub fn packed_column(matrix: Packed<'_>, column: usize, into: &mut [f32]) {
    let n_padded = matrix.n.next_multiple_of(PANEL);
    assert!(column < matrix.n && into.len() == matrix.k, "no such column");
    for (block, into) in into.chunks_mut(K_BLOCK).enumerate() {
        let at = panel_offset(block * K_BLOCK, into.len(), column / PANEL, n_padded) + column % PANEL;
        for (to, value) in into.iter_mut().zip(matrix.data[at..].iter().step_by(PANEL)) {
            *to = *value;
        }
    }
}

#[inline]
fn pack_panel(source: Source<'_>, (row, column, columns): (usize, usize, usize), scale: f32, into: &mut [f32]) {
    let origin = row * source.row_stride + column * source.column_stride;
    if source.column_stride == 1 {
        for (r, line) in into.chunks_exact_mut(PANEL).enumerate() {
            let from = &source.data[origin + r * source.row_stride..][..columns];
            for (to, value) in line.iter_mut().zip(from) {
                *to = value * scale;
            }
            line[columns..].fill(0.0);
        }
        return;
    }
    let height = into.len() / PANEL;
    for c in 0..PANEL {
        if c >= columns {
            into.iter_mut().skip(c).step_by(PANEL).for_each(|to| *to = 0.0);
        } else if source.row_stride == 1 {
            let from = &source.data[origin + c * source.column_stride..][..height];
            for (line, value) in into.chunks_exact_mut(PANEL).zip(from) {
                line[c] = value * scale;
            }
        } else {
            for (r, line) in into.chunks_exact_mut(PANEL).enumerate() {
                line[c] = source.data[origin + c * source.column_stride + r * source.row_stride] * scale;
            }
        }
    }
}
