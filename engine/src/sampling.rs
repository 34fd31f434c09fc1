//! Which token comes next.
//!
//! Order of what is done to the logits, as the published libraries have it: repetition penalty over prompt and answer
//! (Keskar et al., CTRL, 2019), presence and frequency penalties over the answer (OpenAI), then, unless the temperature
//! is 0 and the largest logit is taken, temperature, `top_k`, `top_p` (Holtzman et al., 2020) and a draw. Promises the
//! same draws for the same seed on every machine, no allocation after `new`, and an error instead of a choice when a
//! logit is no finite number. Must not know models or tokenizers.

use crate::error::{Error, Result};

/// What a caller may ask of sampling; `check` says within which bounds.
#[derive(Clone, Debug)]
pub struct Sampling {
    /// 0 for the largest logit.
    pub temperature: f32,
    pub top_p: f32,
    /// 0 for no limit.
    pub top_k: usize,
    pub seed: u64,
    pub repetition_penalty: f32,
    pub presence_penalty: f32,
    pub frequency_penalty: f32,
}

impl Sampling {
    /// # Errors
    /// `BadShape` naming the parameter that is out of bounds.
    pub fn check(&self) -> Result<()> {
        let bounds = [
            ("temperature", self.temperature, 0.0, 100.0),
            ("top_p", self.top_p, 1e-6, 1.0),
            ("repetition_penalty", self.repetition_penalty, 0.01, 100.0),
            ("presence_penalty", self.presence_penalty, -100.0, 100.0),
            ("frequency_penalty", self.frequency_penalty, -100.0, 100.0),
        ];
        match bounds.iter().find(|(_, value, least, most)| !(least..=most).contains(&value)) {
            Some((name, value, least, most)) => {
                Err(Error::BadShape(format!("{name} is {value}; it must be {least} to {most}")))
            }
            None => Ok(()),
        }
    }
}

/// Draws tokens one after another.
pub struct Sampler {
    how: Sampling,
    state: u64,
    /// Per id: whether it was in the prompt or the answer, and how often in the answer.
    seen: Vec<bool>,
    counts: Vec<u32>,
    logits: Vec<f32>,
    /// Weight and id of those that may be drawn.
    candidates: Vec<(f32, u32)>,
}

impl Sampler {
    /// For a vocabulary of `vocab` ids.
    ///
    /// # Errors
    /// See [`Sampling::check`].
    pub fn new(how: Sampling, vocab: usize) -> Result<Self> {
        how.check()?;
        let state = how.seed;
        let drawn = if how.temperature > 0.0 { vocab } else { 0 };
        Ok(Self {
            how,
            state,
            seen: vec![false; vocab],
            counts: vec![0; vocab],
            logits: Vec::with_capacity(vocab),
            candidates: Vec::with_capacity(drawn),
        })
    }

    /// Bytes that a sampler takes.
    #[must_use]
    pub fn bytes(vocab: usize) -> u64 {
        (vocab as u64).saturating_mul(1 + 4 + 4 + 8)
    }

    /// Tells of the prompt.
    pub fn see(&mut self, prompt: &[u32]) {
        for id in prompt {
            if let Some(seen) = self.seen.get_mut(*id as usize) {
                *seen = true;
            }
        }
    }

    /// The next token of an answer.
    ///
    /// # Errors
    /// `BadWeights` if a logit is no finite number.
    pub fn next(&mut self, logits: &[f32]) -> Result<u32> {
        if let Some(at) = logits.iter().position(|logit| !logit.is_finite()) {
            let message = format!("the model computes {} for token {at}: its weights are damaged", logits[at]);
            return Err(Error::BadWeights(message));
        }
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        self.penalise();
        let id = if self.how.temperature > 0.0 { self.draw() } else { largest(&self.logits) };
        if let (Some(seen), Some(count)) = (self.seen.get_mut(id as usize), self.counts.get_mut(id as usize)) {
            *seen = true;
            *count = count.saturating_add(1);
        }
        Ok(id)
    }

    #[allow(clippy::cast_precision_loss)] // an answer has far fewer than 2^24 tokens
    fn penalise(&mut self) {
        let Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } = self.how;
        for ((logit, seen), count) in self.logits.iter_mut().zip(&self.seen).zip(&self.counts) {
            if *seen {
                *logit = if *logit > 0.0 { *logit / repetition_penalty } else { *logit * repetition_penalty };
            }
            if *count > 0 {
                *logit -= presence_penalty + frequency_penalty * *count as f32;
            }
        }
    }

    #[allow(clippy::cast_possible_truncation)] // ids of a vocabulary
    fn draw(&mut self) -> u32 {
        let top = self.logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights = self.logits.iter().map(|logit| ((logit - top) / self.how.temperature).exp());
        self.candidates.clear();
        self.candidates.extend(weights.zip(0..));
        let keep = if self.how.top_k == 0 { usize::MAX } else { self.how.top_k };
        if keep < self.candidates.len() {
            self.candidates.select_nth_unstable_by(keep, heavier);
            self.candidates.truncate(keep);
        }
        let total = |candidates: &[(f32, u32)]| candidates.iter().map(|(weight, _)| f64::from(*weight)).sum::<f64>();
        let all = total(&self.candidates);
        if self.how.top_p < 1.0 {
            // The heaviest few are nearly always enough: sorting all of a vocabulary would cost more than a layer.
            let mut sorted = 64;
            loop {
                sorted = sorted.min(self.candidates.len());
                if sorted < self.candidates.len() {
                    self.candidates.select_nth_unstable_by(sorted, heavier);
                }
                self.candidates[..sorted].sort_unstable_by(heavier);
                let mut sum = 0.0;
                let enough = self.candidates[..sorted].iter().position(|(weight, _)| {
                    sum += f64::from(*weight);
                    sum >= f64::from(self.how.top_p) * all
                });
                if let Some(last) = enough {
                    self.candidates.truncate(last + 1);
                    break;
                }
                if sorted == self.candidates.len() {
                    break;
                }
                sorted *= 8;
            }
        } else {
            // In the order of ids, so that the draw does not depend on how the selection left them.
            self.candidates.sort_unstable_by_key(|(_, id)| *id);
        }
        let mut left = self.uniform() * total(&self.candidates);
        for (weight, id) in &self.candidates {
            left -= f64::from(*weight);
            if left < 0.0 {
                return *id;
            }
        }
        // Rounding may leave a rest: the heaviest is then as good as any.
        largest(&self.logits)
    }

    /// In [0, 1), by SplitMix64 (Steele, Lea and Flood, 2014).
    #[allow(clippy::cast_precision_loss)] // 53 bits
    fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as sorting wants it
/// Descending by weight, then ascending by id: an order without ties.
fn heavier(a: &(f32, u32), b: &(f32, u32)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// The first of the largest.
fn largest(logits: &[f32]) -> u32 {
    let mut best = (f32::NEG_INFINITY, 0);
    for (logit, id) in logits.iter().zip(0_u32..) {
        if *logit > best.0 {
            best = (*logit, id);
        }
    }
    best.1
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::cast_precision_loss)]
mod tests {
    use super::{Sampler, Sampling};

    fn plain() -> Sampling {
        Sampling {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            seed: 7,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
        }
    }

    fn shares(how: Sampling, logits: &[f32]) -> Vec<f64> {
        let mut counts = vec![0_u32; logits.len()];
        let mut sampler = Sampler::new(how, logits.len()).unwrap();
        for _ in 0..20_000 {
            counts[sampler.next(logits).unwrap() as usize] += 1;
        }
        counts.into_iter().map(|count| f64::from(count) / 20_000.0).collect()
    }

    #[test]
    fn draws_follow_the_softmax() {
        let logits = [1.0, 0.0, 2.0, -1.0];
        let total: f64 = logits.iter().map(|logit| f64::from(*logit / 0.7).exp()).sum();
        for (share, logit) in shares(Sampling { temperature: 0.7, ..plain() }, &logits).iter().zip(logits) {
            let exact = f64::from(logit / 0.7).exp() / total;
            assert!((share - exact).abs() < 0.015, "{share} {exact}");
        }
    }

    #[test]
    fn limits_leave_out_the_light_ones() {
        let logits = [3.0, 2.0, 1.0, 0.0, -1.0];
        let seen = |how| shares(how, &logits).iter().filter(|share| **share > 0.0).count();
        assert_eq!(seen(Sampling { top_k: 2, ..plain() }), 2);
        assert_eq!(seen(Sampling { top_p: 0.8, ..plain() }), 2);
        assert_eq!(seen(Sampling { top_p: 1e-6, ..plain() }), 1);
        assert_eq!(seen(Sampling { top_k: 1, top_p: 0.99, ..plain() }), 1);
        let flat = vec![0.0; 1000];
        assert!(shares(Sampling { top_p: 0.5, ..plain() }, &flat).iter().filter(|s| **s > 0.0).count() <= 501);
    }

    #[test]
    fn same_seed_draws_the_same() {
        let logits: Vec<f32> = (0..300).map(|i| (i as f32 * 0.7).sin()).collect();
        let run = |seed| {
            let mut sampler = Sampler::new(Sampling { seed, top_p: 0.9, ..plain() }, logits.len()).unwrap();
            (0..50).map(|_| sampler.next(&logits).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn penalties_discourage_what_was_said() {
        let greedy = Sampling { temperature: 0.0, ..plain() };
        let logits = [2.0, 1.9, -0.1];
        let mut sampler = Sampler::new(Sampling { frequency_penalty: 0.15, ..greedy.clone() }, 3).unwrap();
        assert_eq!([0, 1, 0].map(|_| sampler.next(&logits).unwrap()), [0, 1, 0]);
        let mut sampler = Sampler::new(Sampling { repetition_penalty: 1.5, ..greedy }, 3).unwrap();
        sampler.see(&[0]);
        assert_eq!(sampler.next(&logits).unwrap(), 1);
    }

    #[test]
    fn no_number_is_an_error_and_not_a_choice() {
        let mut sampler = Sampler::new(plain(), 3).unwrap();
        assert!(sampler.next(&[0.0, f32::NAN, 1.0]).is_err());
        assert!(sampler.next(&[0.0, f32::INFINITY, 1.0]).is_err());
        assert!(Sampler::new(Sampling { temperature: f32::NAN, ..plain() }, 3).is_err());
        assert!(Sampler::new(Sampling { top_p: 0.0, ..plain() }, 3).is_err());
    }

    #[test]
    fn smallest_temperature_is_the_largest_logit() {
        let mut sampler = Sampler::new(Sampling { temperature: 1e-40, ..plain() }, 3).unwrap();
        assert_eq!(sampler.next(&[0.0, 5.0, 1.0]).unwrap(), 1);
    }
}
