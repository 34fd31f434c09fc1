//! A picture file to pixels: PNG, JPEG or WebP, the first frame.
//!
//! Decides by the first bytes which of the three it is; nothing else is opened. Promises that the size is compared with
//! what was granted before the pixels are allocated, and that no decoder allocates beyond a known multiple of the
//! pixels (`peak_bytes`; the formats' own limits where they have them, the ledger's limit everywhere). Must not know
//! what the pixels are for.

use std::io::Cursor;

use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{ColorType, ImageDecoder, ImageError, Limits};

use crate::error::{Error, Result};

/// Bytes per pixel that decoding takes at its peak, result included: WebP (VP8L) holds its ARGB result twice, and a
/// progressive JPEG all its coefficients, six bytes beside three. Tests hold the decoders to it.
pub const BYTES_PER_PIXEL: u64 = 18;
/// Scratch that does not grow with the picture: Huffman tables, inflate windows.
const FIXED: u64 = 2 << 20;
/// No side is longer, as in JPEG.
const LONGEST_SIDE: u32 = 65_535;

/// Decoded pixels, in the order of the file.
pub struct Picture {
    pub width: usize,
    pub height: usize,
    color: ColorType,
    bytes: Vec<u8>,
}

/// What is wrong with a picture, in few words: an error of a decoder may quote what it read.
fn unreadable(error: &ImageError) -> Error {
    let said: String = error.to_string().chars().filter(|c| !c.is_control()).take(120).collect();
    Error::BadShape(format!("the picture can't be read: {said}"))
}

impl Picture {
    /// Decodes a file of at most `most_pixels` pixels.
    ///
    /// # Errors
    /// `BadShape` if the file is no picture of the three formats, damaged, or larger.
    pub fn decode(file: &[u8], most_pixels: u64) -> Result<Self> {
        let mut limits = Limits::no_limits();
        limits.max_image_width = Some(LONGEST_SIDE);
        limits.max_image_height = Some(LONGEST_SIDE);
        limits.max_alloc = Some(most_pixels.saturating_mul(BYTES_PER_PIXEL).saturating_add(FIXED));
        let cursor = Cursor::new(file);
        match file {
            [0x89, b'P', b'N', b'G', ..] => {
                let decoder = PngDecoder::with_limits(cursor, limits.clone());
                Self::read(decoder.map_err(|e| unreadable(&e))?, limits, most_pixels)
            }
            [0xFF, 0xD8, 0xFF, ..] => {
                Self::read(JpegDecoder::new(cursor).map_err(|e| unreadable(&e))?, limits, most_pixels)
            }
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
                Self::read(WebPDecoder::new(cursor).map_err(|e| unreadable(&e))?, limits, most_pixels)
            }
            _ => Err(Error::BadShape("the picture is neither PNG, JPEG nor WebP".to_owned())),
        }
    }

    fn read(mut decoder: impl ImageDecoder, limits: Limits, most_pixels: u64) -> Result<Self> {
        let (width, height) = decoder.dimensions();
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 || pixels > most_pixels {
            let message = format!("the picture has {width} x {height} pixels; 1 to {most_pixels} were granted");
            return Err(Error::BadShape(message));
        }
        decoder.set_limits(limits).map_err(|e| unreadable(&e))?;
        let color = decoder.color_type();
        let len = usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX);
        if !matches!(
            color,
            ColorType::L8
                | ColorType::La8
                | ColorType::Rgb8
                | ColorType::Rgba8
                | ColorType::L16
                | ColorType::La16
                | ColorType::Rgb16
                | ColorType::Rgba16
        ) {
            return Err(Error::BadShape(format!("the picture's colours are {color:?}, which is not read")));
        }
        let mut bytes = vec![0; len];
        decoder.read_image(&mut bytes).map_err(|e| unreadable(&e))?;
        Ok(Self { width: width as usize, height: height as usize, color, bytes })
    }

    /// Line `y` as red, green and blue of eight bits: grey is repeated, transparency dropped, sixteen bits cut.
    ///
    /// # Panics
    /// If the line is outside the picture or `into` is not `3 * width` long.
    pub fn line(&self, y: usize, into: &mut [u8]) {
        let stride = self.width * usize::from(self.color.bytes_per_pixel());
        let line = &self.bytes[y * stride..][..stride];
        let deep = usize::from(self.color.bytes_per_pixel() / self.color.channel_count());
        // Samples of sixteen bits are in the machine's order; this engine is little-endian, so the high byte is last.
        let sample = |pixel: &[u8], channel: usize| pixel[(channel + 1) * deep - 1];
        let pixels = line.chunks_exact(stride / self.width);
        let colored = self.color.has_color();
        for (to, pixel) in into.chunks_exact_mut(3).zip(pixels) {
            for (channel, value) in to.iter_mut().enumerate() {
                *value = sample(pixel, if colored { channel } else { 0 });
            }
        }
    }
}

/// An upper bound of the bytes that decoding a file of so many bytes with so many pixels takes.
#[must_use]
pub fn peak_bytes(pixels: u64, file: u64) -> u64 {
    // The JPEG decoder copies its file, and may copy what a file says about itself.
    pixels.saturating_mul(BYTES_PER_PIXEL).saturating_add(file.saturating_mul(3)).saturating_add(FIXED)
}
