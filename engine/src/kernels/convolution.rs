//! What a convolution needs beside a matrix product: its patches as rows, and the two poolings of a residual network.
//!
//! An image is rows of pixels, channels innermost (height, width, channels): the taps of one line of a kernel are then
//! neighbours in memory, and the patches of some output pixels are rows of a matrix whose product with the kernel is
//! the convolution. Only as many patches exist at a time as the caller has room for. Promises that sizes which would
//! make an output of no pixels are told apart before any arithmetic on them. Must not know about models.

/// A window that moves over an image.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
}

/// The size of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

impl Size {
    /// Pixels, or nothing if the number can't be represented.
    #[must_use]
    pub fn pixels(self) -> Option<usize> {
        self.height.checked_mul(self.width)
    }

    /// Floats, or nothing if the number can't be represented.
    #[must_use]
    pub fn len(self) -> Option<usize> {
        self.pixels()?.checked_mul(self.channels)
    }

    #[must_use]
    pub fn is_empty(self) -> bool {
        self.height == 0 || self.width == 0 || self.channels == 0
    }
}

impl Window {
    /// How many places the window has along a side, or nothing if it has none.
    #[must_use]
    pub fn places(self, side: usize) -> Option<usize> {
        let room = side.checked_add(self.padding.checked_mul(2)?)?.checked_sub(self.kernel)?;
        if self.kernel == 0 || side == 0 { None } else { Some(room.checked_div(self.stride)? + 1) }
    }

    /// The size of what a convolution or pooling by this window makes, with as many channels.
    #[must_use]
    pub fn output(self, size: Size, channels: usize) -> Option<Size> {
        Some(Size { height: self.places(size.height)?, width: self.places(size.width)?, channels })
    }

    /// Along one axis: how many taps lie before the image, the first pixel inside, and how many taps lie inside.
    #[inline]
    fn clip(self, place: usize, side: usize) -> (usize, usize, usize) {
        let start = place * self.stride;
        let before = self.padding.saturating_sub(start).min(self.kernel);
        let first = (start + before).saturating_sub(self.padding);
        (before, first, (self.kernel - before).min(side.saturating_sub(first)))
    }
}

/// The patches of the output pixels from `first` on, as many as `rows` has room for: per row kernel x kernel x channels
/// floats, zeros outside the image.
///
/// # Panics
/// If the image is shorter than its size says.
pub fn gather(image: &[f32], size: Size, window: Window, first: usize, rows: &mut [f32]) {
    let Size { height, width, channels } = size;
    let Some(across) = window.places(width) else { return };
    let line = window.kernel * channels;
    for (row, place) in rows.chunks_exact_mut(window.kernel * line).zip(first..) {
        let (above, y, lines) = window.clip(place / across, height);
        let (left, x, taps) = window.clip(place % across, width);
        row.fill(0.0);
        for i in 0..lines {
            let from = &image[((y + i) * width + x) * channels..][..taps * channels];
            row[(above + i) * line + left * channels..][..taps * channels].copy_from_slice(from);
        }
    }
}

/// The largest value under each place of the window, channel by channel; what lies outside the image counts for nothing.
///
/// # Panics
/// If a slice is shorter than the sizes say.
pub fn max_pool(image: &[f32], size: Size, window: Window, out: &mut [f32]) {
    let Size { height, width, channels } = size;
    let Some(across) = window.places(width) else { return };
    for (place, to) in out.chunks_exact_mut(channels).enumerate() {
        let (_, y, lines) = window.clip(place / across, height);
        let (_, x, taps) = window.clip(place % across, width);
        to.fill(f32::NEG_INFINITY);
        for i in 0..lines {
            for from in image[((y + i) * width + x) * channels..][..taps * channels].chunks_exact(channels) {
                for (to, value) in to.iter_mut().zip(from) {
                    *to = to.max(*value);
                }
            }
        }
    }
}
