//! What a decoder keeps for each call between its steps, and the buffers in which a pass is computed.
//!
//! Decides how long each buffer is. A `Cache` belongs to one call; a `Workspace` to whoever computes: a call alone, or a
//! batch of calls that take turns in it. Promises that everything is allocated here and never grows, and that a batch
//! takes no more than its calls would take alone. Must not know weights or tokens.

use super::llama_config::LlamaConfig;
use crate::error::{Error, Result};
use crate::kernels::cached::{Groups, cache_len, scratch_len};

/// Rows that go through the layers together.
pub const CHUNK_ROWS: usize = 256;
/// Rows of the feed-forward part at a time.
pub const BLOCK_ROWS: usize = 96;

/// Keys and values of one call.
pub struct Cache {
    pub(super) keys: Vec<f32>,
    pub(super) values: Vec<f32>,
    pub(super) capacity: usize,
    /// Positions that are kept.
    pub(super) len: usize,
}

/// What a workspace has room for.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Rows of a pass, at most `CHUNK_ROWS`.
    pub rows: usize,
    /// Positions that a row sees.
    pub positions: usize,
    /// Rows whose logits are wanted at once.
    pub answers: usize,
}

/// The buffers that all layers share.
pub struct Workspace {
    pub(super) room: Room,
    pub(super) hidden: Vec<f32>,
    pub(super) normed: Vec<f32>,
    pub(super) qkv: Vec<f32>,
    pub(super) context: Vec<f32>,
    pub(super) inner: Vec<f32>,
    pub(super) turns: Vec<f32>,
    pub(super) scratch: Vec<f32>,
    pub(super) logits: Vec<f32>,
}

pub(super) fn groups(config: &LlamaConfig) -> Groups {
    Groups { heads: config.heads, kv_heads: config.kv_heads, width: config.head_width }
}

impl Room {
    /// What one call alone needs.
    #[must_use]
    pub fn alone(capacity: usize) -> Self {
        Self { rows: capacity.min(CHUNK_ROWS), positions: capacity, answers: 1 }
    }

    /// What calls of these capacities need: their prompts one after the other, then a row of each.
    ///
    /// # Errors
    /// `BadShape` if there are none, or more than go through the layers together.
    pub fn together(capacities: impl ExactSizeIterator<Item = usize>) -> Result<Self> {
        let answers = capacities.len();
        let positions = capacities.max().unwrap_or(0);
        if !(1..=CHUNK_ROWS).contains(&answers) {
            return Err(Error::BadShape(format!("a batch has {answers} answers; it must have 1 to {CHUNK_ROWS}")));
        }
        Ok(Self { rows: positions.min(CHUNK_ROWS).max(answers), positions, answers })
    }
}

/// Floats of keys and of values of one call, all layers; nothing if a number can't be represented.
fn cache_lens(config: &LlamaConfig, capacity: usize) -> Option<[usize; 2]> {
    let (keys, values) = cache_len(capacity, groups(config))?;
    Some([keys.checked_mul(config.layers)?, values.checked_mul(config.layers)?])
}

/// Lengths of the buffers of a [`Workspace`], in its order; nothing as above.
fn buffer_lens(config: &LlamaConfig, room: Room) -> Option<[usize; 8]> {
    let times = |width: usize| room.rows.checked_mul(width);
    Some([
        times(config.hidden)?,
        times(config.hidden)?,
        times(config.qkv_width())?,
        times(config.query_width())?,
        room.rows.min(BLOCK_ROWS).checked_mul(config.intermediate.checked_mul(2)?)?,
        times(config.head_width)?,
        scratch_len(room.positions, groups(config))?,
        room.answers.checked_mul(config.vocab)?,
    ])
}

/// Bytes of a cache for `capacity` positions and of the workspace of a call alone. Saturates instead of overflowing.
#[must_use]
pub fn state_bytes(config: &LlamaConfig, capacity: usize) -> u64 {
    let sum = |lens: &[usize]| lens.iter().try_fold(0_usize, |sum, len| sum.checked_add(*len));
    let cache = cache_lens(config, capacity).and_then(|lens| sum(&lens));
    let buffers = buffer_lens(config, Room::alone(capacity)).and_then(|lens| sum(&lens));
    let floats = cache.zip(buffers).and_then(|(cache, buffers)| cache.checked_add(buffers));
    floats.map_or(u64::MAX, |floats| (floats as u64).saturating_mul(4))
}

fn too_long(positions: usize) -> Error {
    Error::BadShape(format!("{positions} positions are beyond what can be addressed"))
}

impl Cache {
    /// Room for `capacity` positions, all of it allocated now.
    ///
    /// # Errors
    /// `BadShape` if so many can't be addressed.
    pub fn new(config: &LlamaConfig, capacity: usize) -> Result<Self> {
        let lens = cache_lens(config, capacity).ok_or_else(|| too_long(capacity))?;
        let [keys, values] = lens.map(|len| vec![0.0_f32; len]);
        Ok(Self { keys, values, capacity, len: 0 })
    }

    /// Positions that there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Positions that are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Workspace {
    /// All of it allocated now.
    ///
    /// # Errors
    /// `BadShape` if so much can't be addressed.
    pub fn new(config: &LlamaConfig, room: Room) -> Result<Self> {
        let lens = buffer_lens(config, room).ok_or_else(|| too_long(room.positions))?;
        let [hidden, normed, qkv, context, inner, turns, scratch, logits] = lens.map(|len| vec![0.0_f32; len]);
        Ok(Self { room, hidden, normed, qkv, context, inner, turns, scratch, logits })
    }
}
