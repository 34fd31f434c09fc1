//! Chronos (Ansari et al., 2024): forecasts by sampling the continuation of a tokenised series from a T5.
//!
//! Decides how samples are grouped and how a horizon longer than the model was trained for is cut: after each piece the
//! median of the samples is appended to the series, as in the reference. The memory of a call has a known bound
//! (`peak_bytes`), all of it caches of known size. Must not know about files or Python.

use super::bins::Bins;
use super::chronos_config::ChronosConfig;
use super::t5::{Memory, T5};
use super::t5_decoder::MOST_SEQUENCES;
use crate::cancel::checkpoint;
use crate::draw::{Draw, Sampling, stream};
use crate::error::{Error, Result};

/// Steps of a forecast at most: far beyond what any model was trained for, far below what could overflow.
pub const MOST_STEPS: usize = 1 << 16;
/// Samples per series at most.
pub const MOST_SAMPLES: usize = 1 << 16;

/// What is asked for, beside the series.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub horizon: usize,
    pub samples: usize,
    pub sampling: Sampling,
    pub seed: u64,
}

/// A loaded forecaster.
pub struct Chronos {
    pub config: ChronosConfig,
    t5: T5,
    bins: Bins,
}

/// Samples of one piece of a forecast.
struct Piece<'a> {
    memory: &'a Memory,
    steps: usize,
    /// Where the sequences' streams of chance begin.
    first_stream: u64,
}

/// The lower median of each column of rows, NaN-free.
fn medians(rows: &[Vec<f32>], into: &mut Vec<f32>) {
    let columns = rows.first().map_or(0, Vec::len);
    for column in 0..columns {
        let mut values: Vec<f32> = rows.iter().map(|row| row[column]).collect();
        let middle = (values.len() - 1) / 2;
        into.push(*values.select_nth_unstable_by(middle, f32::total_cmp).1);
    }
}

impl Chronos {
    #[must_use]
    pub fn new(config: ChronosConfig, t5: T5) -> Self {
        Self { bins: Bins::new(&config), config, t5 }
    }

    #[must_use]
    pub fn model(&self) -> &T5 {
        &self.t5
    }

    /// `samples` x `horizon` values that may follow each series, series after series. NaN is a missing value.
    ///
    /// # Errors
    /// `BadShape` for no series, an empty one, an infinite value or a setting out of range; `Cancelled`.
    pub fn forecast(&self, series: &[Vec<f32>], request: Request) -> Result<Vec<f32>> {
        let Request { horizon, samples, .. } = request;
        if series.is_empty() {
            return Err(Error::BadShape("there are no series; at least one is needed".to_owned()));
        }
        for (name, value, most) in [("horizon", horizon, MOST_STEPS), ("num_samples", samples, MOST_SAMPLES)] {
            if !(1..=most).contains(&value) {
                return Err(Error::BadShape(format!("{name} is {value}; it must be 1 to {most}")));
            }
        }
        let mut draw = Draw::new(request.sampling, self.t5.config.vocab)?;
        let mut out = Vec::with_capacity(samples * horizon * series.len());
        for (index, series) in series.iter().enumerate() {
            checkpoint()?;
            if series.is_empty() {
                return Err(Error::BadShape(format!("series {index} is empty; at least one value is needed")));
            }
            let begin = out.len();
            out.resize(begin + samples * horizon, 0.0);
            let fail = |error: Error| match error {
                Error::BadShape(what) => Error::BadShape(format!("series {index}: {what}")),
                other => other,
            };
            self.one(series, index as u64, request, &mut draw, &mut out[begin..]).map_err(fail)?;
        }
        Ok(out)
    }

    /// The samples of one series.
    fn one(&self, series: &[f32], index: u64, request: Request, draw: &mut Draw, out: &mut [f32]) -> Result<()> {
        let Request { horizon, samples, .. } = request;
        let from = series.len().saturating_sub(self.config.context);
        let mut context = Vec::with_capacity(series.len() - from + horizon);
        context.extend_from_slice(&series[from..]);
        for (piece, first) in (0..horizon).step_by(self.config.prediction).enumerate() {
            let steps = self.config.prediction.min(horizon - first);
            let recent = &context[context.len().saturating_sub(self.config.context)..];
            let mut scaled = self.bins.read(recent)?;
            if self.config.use_eos {
                let at = u32::try_from(recent.len()).unwrap_or(u32::MAX);
                scaled.tokens.push((self.config.eos, at));
            }
            if scaled.tokens.is_empty() {
                return Err(Error::BadShape("all values are missing".to_owned()));
            }
            let memory = self.t5.encode(&scaled.tokens)?;
            let first_stream = (index << 40) | ((piece as u64) << 20);
            let piece = Piece { memory: &memory, steps, first_stream };
            let rows = self.samples(&piece, request, draw, |token| self.bins.value(token) * scaled.scale)?;
            for (row, to) in rows.iter().zip(out.chunks_exact_mut(horizon)) {
                to[first..first + steps].copy_from_slice(row);
            }
            if first + steps < horizon {
                medians(&rows[..samples], &mut context);
            }
        }
        Ok(())
    }

    /// Rows of values, one per sample, `MOST_SEQUENCES` of them decoded together.
    fn samples(
        &self,
        piece: &Piece<'_>,
        request: Request,
        draw: &mut Draw,
        value: impl Fn(u32) -> f32,
    ) -> Result<Vec<Vec<f32>>> {
        let vocab = self.t5.config.vocab;
        let mut rows = Vec::with_capacity(request.samples);
        for first in (0..request.samples).step_by(MOST_SEQUENCES) {
            let count = MOST_SEQUENCES.min(request.samples - first);
            let mut decoder = self.t5.decoder(piece.memory, count, piece.steps)?;
            let sequences = (first..first + count).map(|at| stream(request.seed, piece.first_stream + at as u64));
            let mut chances: Vec<_> = sequences.collect();
            let mut last = vec![self.t5.config.start; count];
            let mut values = vec![Vec::with_capacity(piece.steps); count];
            for _ in 0..piece.steps {
                let chosen = std::mem::take(&mut last);
                last = decoder.step(&chosen, |logits| {
                    let rows = logits.chunks_exact(vocab).zip(&mut chances);
                    rows.map(|(logits, chance)| draw.token(logits, self.config.eos, chance)).collect()
                })?;
                for (row, token) in values.iter_mut().zip(&last) {
                    row.push(value(*token));
                }
            }
            rows.append(&mut values);
        }
        Ok(rows)
    }

    /// The logits of the first token after a series, for tests against the reference.
    ///
    /// # Errors
    /// As `forecast`.
    pub fn first_logits(&self, series: &[f32]) -> Result<Vec<f32>> {
        let recent = &series[series.len().saturating_sub(self.config.context)..];
        let mut scaled = self.bins.read(recent)?;
        scaled.tokens.push((self.config.eos, u32::try_from(recent.len()).unwrap_or(u32::MAX)));
        let memory = self.t5.encode(&scaled.tokens)?;
        self.t5.decoder(&memory, 1, 1)?.step(&[self.t5.config.start], <[f32]>::to_vec)
    }

    /// Tokens that a series of so many points becomes at most, from the second piece on too.
    fn tokens(&self, points: usize, horizon: usize) -> usize {
        let longest = if horizon > self.config.prediction { points.saturating_add(horizon) } else { points };
        longest.min(self.config.context) + 1
    }

    /// An upper bound of the bytes that `forecast` allocates for `count` series of at most `points` points.
    #[must_use]
    pub fn peak_bytes(&self, count: usize, points: usize, horizon: usize, samples: usize) -> u64 {
        let (tokens, rows) = (self.tokens(points, horizon), samples.min(MOST_SEQUENCES));
        let steps = horizon.min(self.config.prediction);
        let (encode, memory) = self.t5.encode_bytes(tokens);
        let decode = self.t5.decode_bytes(tokens, rows, steps).saturating_add(memory);
        let values = (samples as u64).saturating_mul(horizon as u64).saturating_mul(4);
        let out = values.saturating_mul(count as u64);
        // Rows of values as they are made, with a vector's header and a generator's state (about 320 bytes) each.
        let made = (samples as u64).saturating_mul(4 * steps as u64 + 24).saturating_add(512 * rows as u64);
        let context = points.min(self.config.context).saturating_add(horizon) as u64;
        // The context, and its tokens, which grow by doubling.
        let read = context.saturating_mul(4 + 24);
        let draw = (self.t5.config.vocab as u64).saturating_mul(8);
        encode.max(decode.saturating_add(made)).saturating_add(out).saturating_add(read).saturating_add(draw)
    }

    /// Floating-point operations of the matrix products for one series.
    #[must_use]
    pub fn flops(&self, points: usize, horizon: usize, samples: usize) -> u64 {
        let pieces = horizon.div_ceil(self.config.prediction) as u64;
        let tokens = self.tokens(points, horizon);
        let decode = self.t5.decode_flops(tokens, samples, horizon.min(self.config.prediction));
        self.t5.encode_flops(tokens).saturating_add(decode).saturating_mul(pieces)
    }
}
