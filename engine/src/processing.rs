//! From a picture to what a classifier takes: size, crop, scale, normalisation, as `preprocessor_config.json` says.
//!
//! Decides which of transformers' image processors are done here: resizing both sides (ViT) or the shortest edge with a
//! crop from the middle (ConvNeXT, which ResNet uses). Only the pixels that are kept are ever computed, so a long narrow
//! picture costs no more than its own pixels. Must not know about networks.

use serde::Deserialize;

use crate::cancel::checkpoint;
use crate::error::{Error, Result};
use crate::kernels::resample::{Axis, Filter, resample};
use crate::picture::Picture;

const NAME: &str = "preprocessor_config.json";

#[derive(Deserialize)]
#[serde(untagged)]
enum Size {
    Sides { height: usize, width: usize },
    Shortest { shortest_edge: usize },
    Both(usize),
}

#[derive(Deserialize)]
#[allow(clippy::struct_excessive_bools)] // as published
struct Published {
    #[serde(default = "yes")]
    do_resize: bool,
    #[serde(default = "yes")]
    do_rescale: bool,
    #[serde(default = "yes")]
    do_normalize: bool,
    #[serde(default)]
    do_center_crop: bool,
    size: Option<Size>,
    crop_size: Option<Size>,
    crop_pct: Option<f64>,
    resample: Option<u32>,
    rescale_factor: Option<f64>,
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
}

fn yes() -> bool {
    true
}

/// What is done to a picture.
#[derive(Clone, Debug)]
pub struct Processing {
    /// Height and width of the result.
    pub size: (usize, usize),
    /// The shortest edge before the crop; without one, both sides are made to fit.
    shortest: Option<usize>,
    filter: Filter,
    scale: f32,
    mean: [f32; 3],
    std: [f32; 3],
}

fn unsupported(what: &str) -> Error {
    Error::Unsupported(format!("{NAME}: {what}"))
}

impl Processing {
    /// What transformers does for a model without the file: both sides to `size`, bilinear, values from -1 to 1.
    #[must_use]
    pub fn plain(size: (usize, usize)) -> Self {
        Self { size, shortest: None, filter: Filter::Bilinear, scale: 1.0 / 255.0, mean: [0.5; 3], std: [0.5; 3] }
    }

    /// Reads the bytes of the file, on top of what holds without it.
    ///
    /// # Errors
    /// `BadWeights` if they are not sound, `Unsupported` if they ask for what is not done here.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // sizes are checked
    pub fn parse(bytes: &[u8], plain: &Self) -> Result<Self> {
        let bad = |what: String| Error::BadWeights(format!("{NAME}: {what}"));
        let said: Published = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        if !said.do_resize {
            return Err(unsupported("do_resize is false; pictures come in any size"));
        }
        let filter = match said.resample.unwrap_or(2) {
            2 => Filter::Bilinear,
            3 => Filter::Bicubic,
            other => return Err(unsupported(&format!("resample is {other}; 2 (bilinear) and 3 (bicubic) are done"))),
        };
        let crop = match said.crop_size.filter(|_| said.do_center_crop) {
            Some(Size::Sides { height, width }) => Some((height, width)),
            Some(Size::Both(side)) => Some((side, side)),
            Some(Size::Shortest { .. }) => return Err(unsupported("crop_size must have height and width")),
            None => None,
        };
        let (size, shortest) = match (said.size, crop, said.crop_pct) {
            // ConvNeXT: the edge is larger by crop_pct, then the middle is kept; from 384 on there is no crop.
            (Some(Size::Shortest { shortest_edge: side } | Size::Both(side)), None, Some(kept)) if side < 384 => {
                if !(kept > 0.0 && kept <= 1.0) {
                    return Err(bad(format!("crop_pct is {kept}; it must be above 0, at most 1")));
                }
                ((side, side), Some((side as f64 / kept) as usize))
            }
            (Some(Size::Shortest { shortest_edge }), Some(crop), None) => (crop, Some(shortest_edge)),
            (Some(Size::Sides { height, width }), None, _) => ((height, width), None),
            (Some(Size::Both(side)), None, _) | (Some(Size::Shortest { shortest_edge: side }), None, Some(_)) => {
                ((side, side), None)
            }
            (None, None, _) => (plain.size, None),
            _ => return Err(unsupported("this combination of size, crop_size and crop_pct is not done")),
        };
        let sides = [size.0, size.1, shortest.unwrap_or(size.0)];
        if sides.iter().any(|side| !(1..=1 << 14).contains(side)) || shortest.is_some_and(|s| s < size.0.max(size.1)) {
            return Err(bad(format!("sizes are {sides:?}; they must be 1 to 16384, the crop within the picture")));
        }
        let normalized = |values: Option<[f32; 3]>, without: f32| {
            if said.do_normalize { values.unwrap_or([0.5; 3]) } else { [without; 3] }
        };
        let (mean, std) = (normalized(said.image_mean, 0.0), normalized(said.image_std, 1.0));
        let scale = if said.do_rescale { said.rescale_factor.unwrap_or(1.0 / 255.0) as f32 } else { 1.0 };
        if !std.iter().all(|value| *value > 0.0) || !mean.iter().chain([&scale]).all(|value| value.is_finite()) {
            return Err(bad("image_std must be above 0, all values finite".to_owned()));
        }
        Ok(Self { size, shortest, filter, scale, mean, std })
    }

    /// How height and width are resampled.
    fn axes(&self, (height, width): (usize, usize)) -> (Axis, Axis) {
        let whole = |from: usize, to: usize| Axis { from, to, first: 0, count: to };
        let Some(edge) = self.shortest else { return (whole(height, self.size.0), whole(width, self.size.1)) };
        let short = height.min(width).max(1);
        let part = |from: usize, kept: usize| {
            let to = if from == short { edge } else { edge.saturating_mul(from) / short };
            Axis { from, to, first: (to - kept) / 2, count: kept }
        };
        (part(height, self.size.0), part(width, self.size.1))
    }

    /// The values of a picture into `out`: channels, lines, columns.
    ///
    /// # Errors
    /// `Cancelled` at a checkpoint, one per line.
    pub fn apply(&self, picture: &Picture, out: &mut [f32]) -> Result<()> {
        let (down, across) = self.axes((picture.height, picture.width));
        let pixels = resample((across, down), self.filter, |y, into| picture.line(y, into), checkpoint)?;
        let plane = self.size.0 * self.size.1;
        for (channel, to) in out.chunks_exact_mut(plane).enumerate() {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            for (value, pixel) in to.iter_mut().zip(pixels.chunks_exact(3)) {
                *value = (f32::from(pixel[channel]) * self.scale - mean) / std;
            }
        }
        Ok(())
    }

    /// An upper bound of the bytes that `apply` takes for a picture of this height and width, beside its pixels.
    #[must_use]
    pub fn peak_bytes(&self, height: usize, width: usize) -> u64 {
        let (down, across) = self.axes((height.max(1), width.max(1)));
        let result = (self.size.0 * self.size.1 * 3) as u64;
        let lines = (width as u64).saturating_mul(3).saturating_add(self.size.1 as u64 * 3);
        down.bytes().saturating_add(across.bytes()).saturating_add(result * 5).saturating_add(lines)
    }
}
