//! c = activation(a b + bias), with b packed beforehand: the kernel that takes nine tenths of the time.
//!
//! A tile of up to 6 x 16 results lives in twelve vector registers while the inner dimension passes by; the loops
//! around it follow Goto and van de Geijn (Anatomy of High-Performance Matrix Multiplication, 2008), without packing
//! `a`, whose rows are read in place. The bias and the activation are applied while the tile is at hand. While one
//! panel of `b` is used the next is fetched: with few rows the product is bound by how fast the weights arrive.
//! Promises one thread and no allocation. Must not know where `b` came from.

use super::activation::gelu;
use super::lanes::{Lanes, WIDTH, Wide};
use super::packing::{K_BLOCK, PANEL, panel_offset};

/// Rows of a tile.
pub const TILE_ROWS: usize = 6;
/// Rows of `a` that are kept in the second-level cache while the panels of `b` pass by: 96 x 384 floats, 144 KiB.
const ROW_BLOCK: usize = 96;
/// Steps by which the first tile of a panel asks for its lines ahead.
const NEAR: usize = 12;

/// What is done to a result before it is stored for the last time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finish {
    Nothing,
    Gelu,
    Relu,
}

/// Rows of a matrix: row r begins at `data[r * stride]`.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub data: &'a [f32],
    pub stride: usize,
}

/// The right-hand side: `k` x `n`, packed, with an optional bias per column.
#[derive(Clone, Copy)]
pub struct Packed<'a> {
    pub data: &'a [f32],
    pub k: usize,
    pub n: usize,
    /// Empty, or `n` floats.
    pub bias: &'a [f32],
}

/// `c[r, j] = finish(sum over i of a[r, i] * b[i, j] + bias[j])` for `rows` rows.
///
/// `c` has rows of `c_stride` >= n floats; nothing beyond column n is written.
///
/// # Panics
/// If a slice is shorter than the sizes say.
pub fn matmul(a: Rows<'_>, rows: usize, b: Packed<'_>, finish: Finish, c: &mut [f32], c_stride: usize) {
    matmul_with::<Wide>(a, rows, b, finish, c, c_stride);
}

/// [`matmul`] on a chosen vector implementation: the tests compare them.
pub fn matmul_with<L: Lanes>(a: Rows<'_>, rows: usize, b: Packed<'_>, finish: Finish, c: &mut [f32], c_stride: usize) {
    let (k, n) = (b.k, b.n);
    if rows == 0 || n == 0 {
        return;
    }
    let n_padded = n.next_multiple_of(PANEL);
    assert!(k > 0 && b.data.len() == n_padded * k, "packed matrix has another size");
    assert!(a.stride >= k && a.data.len() >= (rows - 1) * a.stride + k, "left-hand side is too short");
    assert!(c_stride >= n && c.len() >= (rows - 1) * c_stride + n, "result is too short");
    assert!(b.bias.is_empty() || b.bias.len() == n, "bias has another size");
    for first in (0..rows).step_by(ROW_BLOCK) {
        let count = ROW_BLOCK.min(rows - first);
        for k0 in (0..k).step_by(K_BLOCK) {
            let kc = K_BLOCK.min(k - k0);
            let block = Block {
                first,
                count,
                k0,
                kc,
                start: k0 == 0,
                finish: if k0 + kc == k { finish } else { Finish::Nothing },
            };
            block.run::<L>(a, b, c, c_stride);
        }
    }
}

/// The part of a product that one block of rows and one block of the inner dimension make.
struct Block {
    first: usize,
    count: usize,
    k0: usize,
    kc: usize,
    start: bool,
    finish: Finish,
}

impl Block {
    fn run<L: Lanes>(&self, a: Rows<'_>, b: Packed<'_>, c: &mut [f32], c_stride: usize) {
        let n_padded = b.n.next_multiple_of(PANEL);
        // As even as possible: sixteen rows are 6 + 5 + 5, because a tile of four or fewer can't fill the pipeline.
        let strips = self.count.div_ceil(TILE_ROWS);
        for panel in 0..n_padded / PANEL {
            let column = panel * PANEL;
            let width = PANEL.min(b.n - column);
            let at = panel_offset(self.k0, self.kc, panel, n_padded);
            let bias = if b.bias.is_empty() { &[] } else { &b.bias[column..column + width] };
            let mut row = self.first;
            for strip in 0..strips {
                let height = (self.first + self.count - row).div_ceil(strips - strip);
                // SAFETY: matmul_with checked that rows `row..row + height` and columns `column..column + width` lie
                // in `a`, `b` and `c`. The prefetch address may lie beyond the end: a prefetch never faults.
                unsafe {
                    let tile = Tile {
                        a: a.data.as_ptr().add(row * a.stride + self.k0),
                        a_stride: a.stride,
                        b: b.data.as_ptr().add(at),
                        kc: self.kc,
                        c: c.as_mut_ptr().add(row * c_stride + column),
                        c_stride,
                    };
                    tile.run::<L>(self, height, width, bias, strip == 0);
                }
                row += height;
            }
        }
    }
}

/// Where one tile reads and writes.
#[derive(Clone, Copy)]
struct Tile {
    a: *const f32,
    a_stride: usize,
    b: *const f32,
    kc: usize,
    c: *mut f32,
    c_stride: usize,
}

impl Tile {
    /// # Safety
    /// `a` readable for `height` rows of `kc`, `b` for `kc` lines of `PANEL`, `c` for `height` rows of `width`.
    #[inline]
    unsafe fn run<L: Lanes>(self, block: &Block, height: usize, width: usize, bias: &[f32], fetch_next: bool) {
        if width == PANEL && (bias.is_empty() || bias.len() == PANEL) {
            // SAFETY: passed on.
            unsafe { self.dispatch::<L>(block, height, bias, fetch_next) };
            return;
        }
        // The ragged right edge goes through a full tile beside it.
        let mut edge = [0.0_f32; TILE_ROWS * PANEL];
        let mut edge_bias = [0.0_f32; PANEL];
        edge_bias[..bias.len()].copy_from_slice(bias);
        for r in 0..height {
            if !block.start {
                // SAFETY: `c` is readable for `width` floats per row, `edge` for PANEL per row.
                unsafe {
                    edge.as_mut_ptr().add(r * PANEL).copy_from_nonoverlapping(self.c.add(r * self.c_stride), width);
                }
            }
        }
        let beside = Self { c: edge.as_mut_ptr(), c_stride: PANEL, ..self };
        // SAFETY: `edge` is a full tile.
        unsafe { beside.dispatch::<L>(block, height, &edge_bias, fetch_next) };
        for r in 0..height {
            // SAFETY: `c` is writable for `width` floats per row.
            unsafe { self.c.add(r * self.c_stride).copy_from_nonoverlapping(edge.as_ptr().add(r * PANEL), width) };
        }
    }

    #[inline]
    unsafe fn dispatch<L: Lanes>(self, block: &Block, height: usize, bias: &[f32], fetch_next: bool) {
        // SAFETY: passed on; the height in the type is the height given.
        unsafe {
            match (height, fetch_next) {
                (1, false) => self.multiply::<L, 1, false>(block, bias),
                (2, false) => self.multiply::<L, 2, false>(block, bias),
                (3, false) => self.multiply::<L, 3, false>(block, bias),
                (4, false) => self.multiply::<L, 4, false>(block, bias),
                (5, false) => self.multiply::<L, 5, false>(block, bias),
                (6, false) => self.multiply::<L, 6, false>(block, bias),
                (1, true) => self.multiply::<L, 1, true>(block, bias),
                (2, true) => self.multiply::<L, 2, true>(block, bias),
                (3, true) => self.multiply::<L, 3, true>(block, bias),
                (4, true) => self.multiply::<L, 4, true>(block, bias),
                (5, true) => self.multiply::<L, 5, true>(block, bias),
                (6, true) => self.multiply::<L, 6, true>(block, bias),
                _ => unreachable!("a tile has 1 to {TILE_ROWS} rows"),
            }
        }
    }

    #[inline(never)]
    unsafe fn multiply<L: Lanes, const HEIGHT: usize, const FETCH: bool>(self, block: &Block, bias: &[f32]) {
        // SAFETY: `run`'s contract; `bias` is empty or PANEL floats.
        unsafe {
            let mut sums = [[L::splat(0.0); 2]; HEIGHT];
            for (r, sum) in sums.iter_mut().enumerate() {
                if !block.start {
                    let from = self.c.add(r * self.c_stride);
                    *sum = [L::load(from), L::load(from.add(WIDTH))];
                } else if !bias.is_empty() {
                    *sum = [L::load(bias.as_ptr()), L::load(bias.as_ptr().add(WIDTH))];
                }
            }
            let mut lines: [*const f32; HEIGHT] = std::array::from_fn(|r| self.a.add(r * self.a_stride));
            let mut b = self.b;
            let next = self.kc * PANEL;
            let mut left = self.kc;
            while left >= 4 {
                for step in 0..4 {
                    if FETCH {
                        fetch_far(b.wrapping_add(next + step * PANEL));
                        fetch_near(b.wrapping_add(NEAR * PANEL + step * PANEL));
                    }
                    accumulate::<L, HEIGHT>(&lines, step, b.add(step * PANEL), &mut sums);
                }
                for line in &mut lines {
                    *line = line.wrapping_add(4);
                }
                b = b.wrapping_add(4 * PANEL);
                left -= 4;
            }
            for step in 0..left {
                accumulate::<L, HEIGHT>(&lines, step, b.add(step * PANEL), &mut sums);
            }
            for (r, [low, high]) in sums.into_iter().enumerate() {
                let to = self.c.add(r * self.c_stride);
                low.store(to);
                high.store(to.add(WIDTH));
            }
            match block.finish {
                Finish::Nothing => {}
                Finish::Gelu => self.finish::<L, HEIGHT>(gelu),
                Finish::Relu => self.finish::<L, HEIGHT>(|x| x.max(L::splat(0.0))),
            }
        }
    }
}

impl Tile {
    /// Applies `f` to the tile where it has just been stored.
    #[inline(always)]
    unsafe fn finish<L: Lanes, const HEIGHT: usize>(self, f: impl Fn(L) -> L) {
        for r in 0..HEIGHT {
            // SAFETY: `run`'s contract: the tile is HEIGHT rows of PANEL floats.
            unsafe {
                let to = self.c.add(r * self.c_stride);
                let (low, high) = (f(L::load(to)), f(L::load(to.add(WIDTH))));
                low.store(to);
                high.store(to.add(WIDTH));
            }
        }
    }
}

/// One step of the inner dimension: an outer product of a column of `a` with a line of `b`.
#[inline(always)]
unsafe fn accumulate<L: Lanes, const HEIGHT: usize>(
    lines: &[*const f32; HEIGHT],
    step: usize,
    b: *const f32,
    sums: &mut [[L; 2]; HEIGHT],
) {
    // SAFETY: the caller stays within the inner dimension.
    unsafe {
        let (low, high) = (L::load(b), L::load(b.add(WIDTH)));
        for (line, sum) in lines.iter().zip(sums.iter_mut()) {
            let value = L::splat(*line.add(step));
            sum[0] = value.fma(low, sum[0]);
            sum[1] = value.fma(high, sum[1]);
        }
    }
}

/// Asks for a line of the next panel, into the second-level cache.
#[inline(always)]
fn fetch_far(address: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint and never faults, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Asks for a line of the present panel, into the first-level cache.
#[inline(always)]
fn fetch_near(address: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as in `fetch_far`.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
