//! A picture to another size as Pillow does it: the filter that PIL's BILINEAR and BICUBIC name, widened when the picture
//! shrinks, in fixed point, along the columns first. (Pillow 13 takes lines first where that is cheaper; a value may then
//! differ by one in 255.)
//!
//! Decides that lines are taken one at a time: a line is resampled along its columns and then added to the results that it
//! has a part in. So beyond the result there is one line, however large the picture; only the part of the result that
//! is asked for is computed. Promises the same bytes as `Image.resize` in that order. Must not know about formats or models.

/// Bits after the point: eight for the value and two of headroom in 32.
const PRECISION: u32 = 32 - 8 - 2;

/// Which filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filter {
    Bilinear,
    Bicubic,
}

impl Filter {
    /// How far the filter reaches, in pixels of the smaller picture.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        let x = x.abs();
        match self {
            Self::Bilinear => (1.0 - x).max(0.0),
            // Keys, 1981, with a = -0.5.
            Self::Bicubic if x < 1.0 => ((1.5 * x - 2.5) * x) * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5,
            Self::Bicubic => 0.0,
        }
    }
}

/// Along one axis: from how many pixels to how many, and which of these are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    pub from: usize,
    pub to: usize,
    pub first: usize,
    pub count: usize,
}

/// What one pixel of the result is made of: weights of the pixels from `first` on.
struct Part {
    first: usize,
    weights: Vec<i32>,
}

impl Axis {
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn parts(self, filter: Filter) -> Vec<Part> {
        let scale = self.from as f64 / self.to as f64;
        let widening = scale.max(1.0);
        let support = filter.support() * widening;
        let part = |at: usize| {
            let center = (at as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(self.from);
            let weights = (first..end).map(|x| filter.weight((x as f64 - center + 0.5) / widening));
            let weights: Vec<f64> = weights.collect();
            let total: f64 = weights.iter().sum();
            let one = f64::from(1 << PRECISION);
            let fixed = |weight: &f64| (weight / total * one).round_half_away() as i32;
            Part { first, weights: weights.iter().map(fixed).collect() }
        };
        (self.first..self.first + self.count).map(part).collect()
    }

    /// Bytes that the weights take at most.
    #[must_use]
    pub fn bytes(self) -> u64 {
        let reach = self.from.div_ceil(self.to.max(1)).saturating_mul(4).saturating_add(6);
        (self.count.saturating_mul(40 + 4 * reach).saturating_add(16 * reach)) as u64
    }
}

trait RoundHalfAway {
    fn round_half_away(self) -> Self;
}

impl RoundHalfAway for f64 {
    /// As C's cast of x + 0.5 (x - 0.5 below zero).
    fn round_half_away(self) -> Self {
        (self + 0.5_f64.copysign(self)).trunc()
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped
fn clip(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// Resamples a picture of three channels, whose lines `line(y, into)` writes, `across.from` pixels each. Returns the lines
/// and columns asked for, channels innermost. `visit` is called before every line, to stop.
///
/// # Errors
/// What `visit` says.
pub fn resample<E>(
    (across, down): (Axis, Axis),
    filter: Filter,
    line: impl Fn(usize, &mut [u8]),
    mut visit: impl FnMut() -> Result<(), E>,
) -> Result<Vec<u8>, E> {
    let (columns, lines) = (across.parts(filter), down.parts(filter));
    let half = 1_i32 << (PRECISION - 1);
    let mut source = vec![0_u8; across.from * 3];
    let mut narrow = vec![0_u8; across.count * 3];
    let mut sums = vec![half; across.count * down.count * 3];
    let first = lines.iter().map(|part| part.first).min().unwrap_or(0);
    let end = lines.iter().map(|part| part.first + part.weights.len()).max().unwrap_or(0);
    // Results whose first line has been seen and whose last has not.
    let mut open = 0;
    for y in first..end {
        visit()?;
        line(y, &mut source);
        for (to, part) in narrow.chunks_exact_mut(3).zip(&columns) {
            let mut sum = [half; 3];
            for (pixel, weight) in source[part.first * 3..].chunks_exact(3).zip(&part.weights) {
                for (sum, value) in sum.iter_mut().zip(pixel) {
                    *sum += i32::from(*value) * weight;
                }
            }
            to.copy_from_slice(&sum.map(clip));
        }
        while open < lines.len() && lines[open].first + lines[open].weights.len() <= y {
            open += 1;
        }
        for (part, sums) in lines.iter().zip(sums.chunks_exact_mut(across.count * 3)).skip(open) {
            if part.first > y {
                break;
            }
            let Some(weight) = part.weights.get(y - part.first) else { continue };
            for (sum, value) in sums.iter_mut().zip(&narrow) {
                *sum += i32::from(*value) * weight;
            }
        }
    }
    Ok(sums.into_iter().map(clip).collect())
}
