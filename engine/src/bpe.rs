//! Byte-level BPE: text to token ids and back, with bounded work whatever the text.
//!
//! Merging is that of Hugging Face's `tokenizers`; reading the file, cutting and decoding are done here, because there a
//! whole text is copied several times over with an offset per byte, special tokens are found in what callers write, and
//! a cache keeps it. Here a text is worked on in windows of at most `WINDOW` bytes and the work stops at the first token
//! too many, so memory is bounded by a constant and the number of ids, and time is in proportion to the bytes that are
//! looked at. A text of up to `WINDOW` bytes has exactly the reference's ids; in a longer one a window ends before a
//! space between letters or digits, where all published patterns cut, and only a stretch of half a window without any
//! such space is cut where the reference would not. The spelling of an added token in a text is plain text: `encode`
//! does not know them. Must not know about templates or sampling.

use std::ops::ControlFlow;

use tokenizers::Model as _;
use tokenizers::models::bpe::BPE;
use unicode_normalization_alignments::UnicodeNormalization;

use crate::bpe_file::{AddedToken, BpeFile};
use crate::cancel::checkpoint;
use crate::cuts::{Cut, words};
use crate::error::{Error, Result};

/// Bytes of text that are worked on together.
pub const WINDOW: usize = 16 << 10;
/// The most bytes that working on a window takes, per byte of the window: measured 105, and 316 where composition
/// makes three of each: one word that nothing merges.
const WINDOW_FACTOR: u64 = 160;
/// The most bytes that one byte becomes by composition (NFC): U+1D160 and its like are excluded from it, and decomposed.
const COMPOSED: usize = 3;

/// Cuts text into ids and joins the bytes of ids.
pub struct BpeTokenizer {
    bpe: BPE,
    cuts: Vec<Cut>,
    compose: bool,
    prefix_space: bool,
    before: Vec<u32>,
    after: Vec<u32>,
    added: Vec<AddedToken>,
    /// The bytes of all tokens, and where each begins; one more than there are.
    bytes: Vec<u8>,
    starts: Vec<u32>,
    /// The character that stands for each byte.
    letters: [char; 256],
}

/// The characters that stand for bytes in the file: printable ones for themselves, the others from U+0100 on (GPT-2).
fn letters() -> [char; 256] {
    let mut next = 0x100;
    std::array::from_fn(|byte| {
        let byte = u8::try_from(byte).unwrap_or(0);
        if matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF) {
            char::from(byte)
        } else {
            next += 1;
            char::from_u32(next - 1).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
    })
}

impl BpeTokenizer {
    /// Makes a tokenizer of what the file says, for a model of `vocab` ids.
    ///
    /// # Errors
    /// `BadWeights` if a merged token has an id that the model has not.
    pub fn new(file: BpeFile, vocab: usize) -> Result<Self> {
        let letters = letters();
        let mut pieces: Vec<Option<Vec<u8>>> = vec![None; vocab];
        let bad = |id: u32| {
            Error::BadWeights(format!("tokenizer.json: has token id {id}; config.json has vocab_size {vocab}"))
        };
        let byte_of: std::collections::HashMap<char, u8> = letters.iter().copied().zip(0..=u8::MAX).collect();
        for (piece, id) in file.bpe.get_vocab() {
            let decoded: Option<Vec<u8>> = piece.chars().map(|c| byte_of.get(&c).copied()).collect();
            *pieces.get_mut(id as usize).ok_or_else(|| bad(id))? = Some(decoded.unwrap_or_else(|| piece.into_bytes()));
        }
        for token in &file.added {
            let bytes = if token.special { Vec::new() } else { token.content.clone().into_bytes() };
            *pieces.get_mut(token.id as usize).ok_or_else(|| bad(token.id))? = Some(bytes);
        }
        let (mut bytes, mut starts) = (Vec::new(), Vec::with_capacity(vocab + 1));
        for piece in pieces {
            starts.push(u32::try_from(bytes.len()).map_err(|_| bad(u32::MAX))?);
            bytes.extend(piece.unwrap_or_default());
        }
        starts.push(u32::try_from(bytes.len()).map_err(|_| bad(u32::MAX))?);
        let BpeFile { bpe, cuts, compose, prefix_space, added, before, after, .. } = file;
        Ok(Self { bpe, cuts, compose, prefix_space, before, after, added, bytes, starts, letters })
    }

    /// Values of a byte that no token stands for: they vanish from a text.
    #[must_use]
    pub fn missing_bytes(&self) -> usize {
        self.letters.iter().filter(|letter| self.bpe.token_to_id(&letter.to_string()).is_none()).count()
    }

    /// The most tokens that one byte of UTF-8 can become: one, and more only by a normaliser that expands.
    #[must_use]
    pub fn token_expansion(&self) -> f32 {
        #[allow(clippy::cast_precision_loss)] // 1 or 3
        if self.compose { COMPOSED as f32 } else { 1.0 }
    }

    /// The most tokens that are put around a text.
    #[must_use]
    pub fn special_tokens(&self) -> usize {
        self.before.len() + self.after.len() + usize::from(self.prefix_space)
    }

    #[must_use]
    pub fn before(&self) -> &[u32] {
        &self.before
    }

    #[must_use]
    pub fn after(&self) -> &[u32] {
        &self.after
    }

    #[must_use]
    pub fn added(&self) -> &[AddedToken] {
        &self.added
    }

    /// The bytes that a token stands for in a text; none for a special one.
    #[must_use]
    pub fn bytes(&self, id: u32) -> &[u8] {
        match self.starts.get(id as usize..).and_then(|starts| starts.first_chunk::<2>()) {
            Some([start, end]) => self.bytes.get(*start as usize..*end as usize).unwrap_or_default(),
            None => &[],
        }
    }

    /// Appends the ids of a text to `ids` until these are more than `most`; returns whether they are.
    ///
    /// # Errors
    /// `BadShape` if a pattern gives up on the text, `Cancelled`.
    pub fn encode(&self, text: &str, most: usize, ids: &mut Vec<u32>) -> Result<bool> {
        let mut rest = text;
        let mut first = self.prefix_space && !text.starts_with(' ');
        while !rest.is_empty() && ids.len() <= most {
            checkpoint()?;
            let (window, later) = rest.split_at(window_end(rest));
            rest = later;
            let window: std::borrow::Cow<'_, str> = match (first, self.compose) {
                (false, false) => window.into(),
                (true, false) => format!(" {window}").into(),
                (space, true) => {
                    let lead = space.then_some(' ');
                    lead.into_iter().chain(window.chars().nfc().map(|(c, _)| c)).collect::<String>().into()
                }
            };
            first = false;
            let mut word = String::new();
            let _ = words(&self.cuts, &window, &mut |piece| {
                word.clear();
                word.extend(piece.bytes().map(|byte| self.letters[usize::from(byte)]));
                let tokens = self.bpe.tokenize(&word).map_err(|error| Error::Internal(error.to_string()))?;
                ids.extend(tokens.iter().map(|token| token.id));
                Ok(if ids.len() > most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
        }
        Ok(ids.len() > most)
    }

    /// The most bytes that `encode` takes for `most` ids. Saturates instead of overflowing.
    #[must_use]
    pub fn peak_bytes(&self, most: usize) -> u64 {
        // A window can become its own number of ids, and a list of ids is held twice while it grows.
        let ids = (most as u64).saturating_add(COMPOSED as u64 * WINDOW as u64).saturating_mul(4 * 3);
        let factor = if self.compose { WINDOW_FACTOR * COMPOSED as u64 } else { WINDOW_FACTOR };
        ids.saturating_add(WINDOW as u64 * factor)
    }
}

/// Where the first window of a text ends: see the module's comment.
fn window_end(text: &str) -> usize {
    if text.len() <= WINDOW {
        return text.len();
    }
    let end = text.floor_char_boundary(WINDOW);
    let bytes = text.as_bytes();
    let spaces = (WINDOW / 2..end - 1).rev().filter(|at| bytes[*at] == b' ');
    let mut between =
        spaces.filter(|at| bytes[at - 1].is_ascii_alphanumeric() && bytes[at + 1].is_ascii_alphanumeric());
    between.next().unwrap_or(end)
}
