//! Several answers in progress, a token of each per step: the matrices are read once for all of them.
//!
//! Decides the order: prompts are read one after the other, then all answers that have not ended get their next token
//! together. Promises that every answer is what it would be alone, to the last bit; that the buffers are allocated before
//! the first step, and with the sessions take no more than these would take alone; and that a step which failed is the
//! last of all its answers. Must not know Python.

use std::ops::DerefMut;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::generator::Generator;
use crate::models::llama_state::{Room, Workspace};
use crate::session::{Session, Step};

/// The buffers that sessions share. They are handed in with every step, the same in the same order.
pub struct Batch {
    generator: Arc<Generator>,
    size: usize,
    work: Workspace,
}

impl Batch {
    /// Buffers for these sessions.
    ///
    /// # Errors
    /// `BadShape` if there are none, too many, or of several models.
    pub fn new(sessions: &[impl DerefMut<Target = Session>]) -> Result<Self> {
        let room = Room::together(sessions.iter().map(|session| session.capacity()))?;
        let generator = Arc::clone(sessions[0].generator());
        if sessions.iter().any(|session| !Arc::ptr_eq(session.generator(), &generator)) {
            return Err(Error::BadShape("a batch has answers of one model".to_owned()));
        }
        let work = Workspace::new(generator.llama().config(), room)?;
        Ok(Self { generator, size: sessions.len(), work })
    }

    /// The next step of one session, which reads its prompt, or of all that have not ended; each with its index. Nothing
    /// when all have ended.
    ///
    /// # Errors
    /// As [`Session::step`].
    pub fn step(&mut self, sessions: &mut [impl DerefMut<Target = Session>]) -> Result<Vec<(usize, Step)>> {
        if sessions.len() != self.size {
            return Err(Error::Internal(format!("{} sessions in a batch of {}", sessions.len(), self.size)));
        }
        if let Some(at) = sessions.iter().position(|session| !session.over() && !session.begun()) {
            return Ok(vec![(at, sessions[at].step_in(&mut self.work)?)]);
        }
        let live: Vec<usize> = (0..self.size).filter(|at| !sessions[*at].over()).collect();
        if live.is_empty() {
            return Ok(Vec::new());
        }
        let given = sessions.iter_mut().filter(|session| !session.over()).filter_map(|session| session.give());
        let (ids, mut caches): (Vec<_>, Vec<_>) = given.unzip();
        let logits = self.generator.llama().step(&ids, &mut caches, &mut self.work)?;
        let vocab = self.generator.llama().config().vocab;
        live.into_iter().zip(logits.chunks_exact(vocab)).map(|(at, row)| Ok((at, sessions[at].take(row)?))).collect()
    }
}
