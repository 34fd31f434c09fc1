//! One call that writes: a prompt, then one token per step.
//!
//! Decides when an answer ends: at a token that ends it or at a stop string ("stop"), or when it has the tokens that were
//! asked for ("length"). Promises that everything a call needs is allocated when it starts (the buffers of one that is
//! part of a batch are the batch's), that steps can be given up at any time, and that a step which failed is the last.
//! Must not know Python.

use std::sync::Arc;

use crate::answer::{Answer, LONGEST_STOP, MOST_STOPS};
use crate::error::{Error, Result};
use crate::generator::Generator;
use crate::models::llama_state::{Cache, Room, Workspace};
use crate::sampling::{Sampler, Sampling};

/// What a caller asks for.
pub struct Asked {
    pub max_tokens: usize,
    pub sampling: Sampling,
    pub stops: Vec<String>,
    /// Write on where the model would end, so that a measurement has a known size.
    pub ignore_end: bool,
    /// It will be part of a batch, whose buffers it uses.
    pub in_batch: bool,
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
    cache: Cache,
    /// Nothing if it is part of a batch.
    work: Option<Workspace>,
    writing: Writing,
    over: bool,
}

/// The answer of a call and what the model has not yet seen of it.
struct Writing {
    sampler: Sampler,
    answer: Answer,
    /// Tokens that the model has not yet seen.
    next: Vec<u32>,
    prompt_tokens: usize,
    completion_tokens: usize,
    max_tokens: usize,
    ignore_end: bool,
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
        let capacity = tokens + most;
        let cache = Cache::new(config, capacity)?;
        let work = if asked.in_batch { None } else { Some(Workspace::new(config, Room::alone(capacity))?) };
        let writing = Writing {
            sampler,
            answer: Answer::new(asked.stops),
            next: prompt,
            prompt_tokens: tokens,
            completion_tokens: 0,
            max_tokens: most,
            ignore_end: asked.ignore_end,
        };
        Ok(Self { generator, cache, work, writing, over: false })
    }

    #[must_use]
    pub fn prompt_tokens(&self) -> usize {
        self.writing.prompt_tokens
    }

    #[must_use]
    pub fn completion_tokens(&self) -> usize {
        self.writing.completion_tokens
    }

    pub(crate) fn generator(&self) -> &Arc<Generator> {
        &self.generator
    }

    /// Positions that there is room for.
    pub(crate) fn capacity(&self) -> usize {
        self.cache.capacity()
    }

    /// Whether the answer has ended, well or not.
    pub(crate) fn over(&self) -> bool {
        self.over
    }

    /// Whether its prompt has been read.
    pub(crate) fn begun(&self) -> bool {
        !self.cache.is_empty()
    }

    /// Computes the next token; the first step reads the whole prompt.
    ///
    /// # Errors
    /// `Cancelled` at a checkpoint; `BadWeights` if the model computes what is no number; `BadShape` after the end, or
    /// if it is part of a batch.
    pub fn step(&mut self) -> Result<Step> {
        if self.over {
            return Err(ended());
        }
        let Some(mut work) = self.work.take() else {
            return Err(Error::BadShape("the answer is part of a batch, which has its steps".to_owned()));
        };
        let step = self.step_in(&mut work);
        self.work = Some(work);
        step
    }

    /// [`Self::step`] in the buffers of somebody else.
    pub(crate) fn step_in(&mut self, work: &mut Workspace) -> Result<Step> {
        if std::mem::replace(&mut self.over, true) {
            return Err(ended());
        }
        let logits = self.generator.llama().forward(&self.writing.next, &mut self.cache, work)?;
        self.take(logits)
    }

    /// The token that the model has not yet seen, and where its keys and values will be kept. Until `take` has had the
    /// logits, the answer counts as over.
    pub(crate) fn give(&mut self) -> Option<(u32, &mut Cache)> {
        self.over = true;
        self.writing.next.first().map(|id| (*id, &mut self.cache))
    }

    /// The step that these logits are.
    pub(crate) fn take(&mut self, logits: &[f32]) -> Result<Step> {
        let step = self.writing.write(&self.generator, logits)?;
        self.over = step.ending.is_some();
        Ok(step)
    }
}

fn ended() -> Error {
    Error::BadShape("the answer has ended; start another session".to_owned())
}

impl Writing {
    fn write(&mut self, generator: &Generator, logits: &[f32]) -> Result<Step> {
        let id = self.sampler.next(logits)?;
        self.completion_tokens += 1;
        self.next.clear();
        self.next.push(id);
        let mut ending = None;
        let mut text = String::new();
        if generator.ends(id) && !self.ignore_end {
            ending = Some(Ending::Stop);
        } else {
            text = self.answer.push(generator.tokenizer().bytes(id));
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
        Ok(Step { id, text, ending })
    }
}
