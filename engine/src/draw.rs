//! One token from logits: temperature, the k likeliest, the likeliest that make up p, and chance.
//!
//! The order is that of transformers (temperature, then top-k, then top-p). Every sequence has its own stream of one
//! seeded generator (`ChaCha` with 12 rounds), so that what it draws does not depend on who is drawn for beside it.
//! Promises no allocation per token and an answer for any logits. Must not know what a token means.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::error::{Error, Result};

/// How to draw.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// Above 0.
    pub temperature: f32,
    /// How many of the likeliest tokens stay; at least 1. More than there are: all.
    pub top_k: usize,
    /// Above 0, at most 1: the likeliest tokens stay whose probabilities sum up to this.
    pub top_p: f32,
}

impl Sampling {
    /// # Errors
    /// `BadShape` naming the setting that is out of its range.
    pub fn check(self) -> Result<Self> {
        if !(self.temperature.is_finite() && self.temperature >= 1e-3) {
            return Err(Error::BadShape(format!("temperature is {}; it must be at least 0.001", self.temperature)));
        }
        if self.top_k == 0 {
            return Err(Error::BadShape("top_k is 0; it must be at least 1".to_owned()));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(Error::BadShape(format!("top_p is {}; it must be above 0, at most 1", self.top_p)));
        }
        Ok(self)
    }
}

/// Draws tokens for one sequence after another.
pub struct Draw {
    sampling: Sampling,
    /// (logit, token) of the candidates.
    candidates: Vec<(f32, u32)>,
}

/// Likelier first; among equals the lower token.
#[allow(clippy::trivially_copy_pass_by_ref)] // as sorting asks for it
fn by_likelihood(a: &(f32, u32), b: &(f32, u32)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// The generator of one sequence.
#[must_use]
pub fn stream(seed: u64, sequence: u64) -> ChaCha12Rng {
    let mut generator = ChaCha12Rng::seed_from_u64(seed);
    generator.set_stream(sequence);
    generator
}

/// Uniform in 0 <= x < 1.
#[allow(clippy::cast_precision_loss)] // 53 bits
fn uniform(generator: &mut ChaCha12Rng) -> f64 {
    (generator.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

impl Draw {
    /// Room for a vocabulary.
    ///
    /// # Errors
    /// See [`Sampling::check`].
    pub fn new(sampling: Sampling, vocab: usize) -> Result<Self> {
        Ok(Self { sampling: sampling.check()?, candidates: Vec::with_capacity(vocab) })
    }

    /// One token; `banned` is never drawn unless there is no other.
    pub fn token(&mut self, logits: &[f32], banned: u32, generator: &mut ChaCha12Rng) -> u32 {
        let Sampling { temperature, top_k, top_p } = self.sampling;
        let tokens = logits.iter().zip(0_u32..).filter(|(_, token)| *token != banned);
        self.candidates.clear();
        self.candidates.extend(tokens.map(|(logit, token)| (logit / temperature, token)));
        if top_k < self.candidates.len() {
            self.candidates.select_nth_unstable_by(top_k - 1, by_likelihood);
            self.candidates.truncate(top_k);
        }
        self.candidates.sort_unstable_by(by_likelihood);
        let Some((top, likeliest)) = self.candidates.first().copied() else { return banned };
        if self.candidates.len() == 1 {
            return likeliest;
        }
        let weight = |logit: f32| f64::from(logit - top).exp();
        let total: f64 = self.candidates.iter().map(|(logit, _)| weight(*logit)).sum();
        let kept = total * f64::from(top_p);
        // The tokens before which less than p has been gathered.
        let mut mass = 0.0;
        let mut count = 0;
        for (logit, _) in &self.candidates {
            if count > 0 && mass >= kept {
                break;
            }
            mass += weight(*logit);
            count += 1;
        }
        let mut left = uniform(generator) * mass;
        for (logit, token) in &self.candidates[..count] {
            left -= weight(*logit);
            if left < 0.0 {
                return *token;
            }
        }
        likeliest
    }
}
