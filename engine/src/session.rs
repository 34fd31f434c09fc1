//! One call that writes: a prompt, then one token per step.
//!
//! Decides when an answer ends: at a token that ends it or at a stop string ("stop"), or when it has the tokens that were
//! asked for ("length"). Promises that everything a call needs is allocated when it starts, that steps can be given up
//! at any time, and that a step which failed is the last. Must not know Python.

use std::sync::Arc;

use crate::answer::{Answer, LONGEST_STOP, MOST_STOPS};
use crate::error::{Error, Result};
use crate::generator::Generator;
use crate::models::llama::State;
use crate::sampling::{Sampler, Sampling};

/// What a caller asks for.
pub struct Asked {
    pub max_tokens: usize,
    pub sampling: Sampling,
    pub stops: Vec<String>,
}

/// Why an answer ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    Stop,
    Length,
}

/// What one step brought. Text may be empty: a character or a stop string may be under way.
pub struct Step {
    pub id: u32,
    pub text: String,
    pub ending: Option<Ending>,
}

/// A call in progress.
pub struct Session {
    generator: Arc<Generator>,
    state: State,
    sampler: Sampler,
    answer: Answer,
    /// Tokens that the model has not yet seen.
    next: Vec<u32>,
    prompt_tokens: usize,
    completion_tokens: usize,
    max_tokens: usize,
    over: bool,
}

impl Session {
    /// See [`Generator::start`].
    pub(crate) fn new(generator: Arc<Generator>, prompt: Vec<u32>, asked: Asked) -> Result<Self> {
        generator.check_ids(&prompt)?;
        let config = generator.llama().config();
        let (tokens, most, limit) = (prompt.len(), asked.max_tokens, config.positions);
        if most == 0 || most > limit - tokens.min(limit) {
            let room = limit - tokens.min(limit);
            let message = format!(
                "prompt has {tokens} tokens and {most} are asked for; together they may be {limit}, so ask for 1 to {room}"
            );
            return Err(Error::BadShape(message));
        }
        if asked.stops.len() > MOST_STOPS {
            let message = format!("there are {} stop strings; the limit is {MOST_STOPS}", asked.stops.len());
            return Err(Error::BadShape(message));
        }
        if let Some(stop) = asked.stops.iter().find(|stop| stop.is_empty() || stop.len() > LONGEST_STOP) {
            let message = format!("a stop string has {} bytes; it must have 1 to {LONGEST_STOP}", stop.len());
            return Err(Error::BadShape(message));
        }
        let mut sampler = Sampler::new(asked.sampling, config.vocab)?;
        sampler.see(&prompt);
        let state = generator.llama().state(tokens + most)?;
        Ok(Self {
            state,
            sampler,
            answer: Answer::new(asked.stops),
            next: prompt,
            prompt_tokens: tokens,
            completion_tokens: 0,
            max_tokens: most,
            over: false,
            generator,
        })
    }

    #[must_use]
    pub fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }

    #[must_use]
    pub fn completion_tokens(&self) -> usize {
        self.completion_tokens
    }

    /// Computes the next token; the first step reads the whole prompt.
    ///
    /// # Errors
    /// `Cancelled` at a checkpoint; `BadWeights` if the model computes what is no number; `BadShape` after the end.
    pub fn step(&mut self) -> Result<Step> {
        if std::mem::replace(&mut self.over, true) {
            return Err(Error::BadShape("the answer has ended; start another session".to_owned()));
        }
        let logits = self.generator.llama().forward(&self.next, &mut self.state)?;
        let id = self.sampler.next(logits)?;
        self.completion_tokens += 1;
        self.next.clear();
        self.next.push(id);
        let mut ending = None;
        let mut text = String::new();
        if self.generator.ends(id) {
            ending = Some(Ending::Stop);
        } else {
            text = self.answer.push(self.generator.tokenizer().bytes(id));
            if !self.answer.stopped() && self.completion_tokens == self.max_tokens {
                ending = Some(Ending::Length);
            }
        }
        if ending.is_some() {
            text.push_str(&self.answer.finish());
        }
        if self.answer.stopped() {
            ending = Some(Ending::Stop);
        }
        self.over = ending.is_some();
        Ok(Step { id, text, ending })
    }
}
