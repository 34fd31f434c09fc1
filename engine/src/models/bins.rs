//! Series to tokens and back: scaled by the mean of their sizes, then cut into uniform bins (Ansari et al., 2024).
//!
//! Does what `MeanScaleUniformBins` of chronos-forecasting does, in the same single precision, because rounding decides
//! into which bin a value falls. A missing value (NaN) makes no token. Must not know about models.

use super::chronos_config::ChronosConfig;
use crate::error::{Error, Result};

/// The bins of a model.
pub struct Bins {
    centers: Vec<f32>,
    boundaries: Vec<f32>,
    special: usize,
    tokens: usize,
}

/// A series as a model reads it.
#[derive(Debug)]
pub struct Scaled {
    /// (token, position) of the values that are there.
    pub tokens: Vec<(u32, u32)>,
    pub scale: f32,
}

impl Bins {
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // a vocabulary is far below 2^24
    pub fn new(config: &ChronosConfig) -> Self {
        let count = config.tokens - config.special - 1;
        let step = (config.high - config.low) / (count - 1) as f32;
        // From both ends to the middle, as torch.linspace.
        let center = |i: usize| {
            let (up, down) = (i as f32, (count - 1 - i) as f32);
            if i < count / 2 { step.mul_add(up, config.low) } else { (-step).mul_add(down, config.high) }
        };
        let centers: Vec<f32> = (0..count).map(center).collect();
        let between = centers.windows(2).map(|pair| f32::midpoint(pair[0], pair[1]));
        let boundaries = std::iter::once(-1e20).chain(between).chain([1e20]).collect();
        Self { centers, boundaries, special: config.special, tokens: config.tokens }
    }

    /// The tokens of a context and its scale.
    ///
    /// # Errors
    /// `BadShape` for an infinite value, or values so large that a forecast could be infinite.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // a context has at most 2^16 points
    pub fn read(&self, context: &[f32]) -> Result<Scaled> {
        if let Some(at) = context.iter().position(|value| value.is_infinite()) {
            return Err(Error::BadShape(format!("the series has an infinite value at {at}")));
        }
        let present = || context.iter().zip(0_u32..).filter(|(value, _)| !value.is_nan());
        let count = present().count();
        let mean = present().map(|(value, _)| value.abs()).sum::<f32>() / count as f32;
        let scale = if mean > 0.0 { mean } else { 1.0 };
        let widest = self.centers.iter().copied().fold(0.0, |most: f32, center| most.max(center.abs()));
        if !(scale * widest).is_finite() {
            return Err(Error::BadShape("the values of the series are too large for single precision".to_owned()));
        }
        let tokens = present().map(|(value, at)| {
            let bin = self.boundaries.partition_point(|boundary| *boundary <= value / scale);
            ((bin + self.special).min(self.tokens - 1) as u32, at)
        });
        Ok(Scaled { tokens: tokens.collect(), scale })
    }

    /// The value that a token stands for, before scaling.
    #[must_use]
    pub fn value(&self, token: u32) -> f32 {
        let at = (token as usize).saturating_sub(self.special + 1).min(self.centers.len() - 1);
        self.centers[at]
    }
}
