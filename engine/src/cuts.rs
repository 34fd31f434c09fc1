//! How text is cut into words before byte pairs are merged.
//!
//! Cuts follow one another: each looks at the pieces of the one before. Pieces are handed on one at a time, so that the
//! cutting can stop anywhere and holds one piece at most. Promises that a pattern which takes too many steps is an error
//! and not a wait. Must not know what becomes of a word.

use std::ops::ControlFlow;

use fancy_regex::Regex;

use crate::error::{Error, Result};

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Patterns of published models whose time on hostile text has been measured: Llama 3, Qwen2.
const KNOWN: [&str; 3] = [
    GPT2,
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];

/// One way to cut.
pub enum Cut {
    /// At each match of a pattern, the matches and what lies between them being the pieces.
    Pattern { regex: Box<Regex>, known: bool },
    /// Around runs of digits, or around each digit.
    Digits { alone: bool },
}

impl Cut {
    /// The pattern of GPT-2, which ByteLevel stands for.
    ///
    /// # Errors
    /// None in practice: the pattern is a sound one.
    pub fn gpt2() -> Result<Self> {
        Self::pattern(GPT2)
    }

    /// # Errors
    /// `BadWeights` if it is no regular expression.
    pub fn pattern(pattern: &str) -> Result<Self> {
        let regex = Regex::new(pattern).map_err(|error| {
            Error::BadWeights(format!("tokenizer.json: pre_tokenizer.pattern is no regular expression: {error}"))
        })?;
        Ok(Self::Pattern { regex: Box::new(regex), known: KNOWN.contains(&pattern) })
    }

    /// Whether its time on hostile text is known to be bounded.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Pattern { known: false, .. })
    }

    fn pieces<'t>(
        &self,
        text: &'t str,
        mut sink: impl FnMut(&'t str) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        let mut hand_on = |piece: &'t str| if piece.is_empty() { Ok(ControlFlow::Continue(())) } else { sink(piece) };
        let mut done = 0;
        match self {
            Self::Pattern { regex, .. } => {
                for found in regex.find_iter(text) {
                    let found = found.map_err(|error| Error::BadShape(format!("the text can't be cut: {error}")))?;
                    if hand_on(&text[done..found.start()])?.is_break() || hand_on(found.as_str())?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    done = found.end();
                }
            }
            Self::Digits { alone } => {
                let mut in_digits = false;
                for (at, c) in text.char_indices() {
                    if c.is_numeric() != in_digits || (in_digits && *alone) {
                        if hand_on(&text[done..at])?.is_break() {
                            return Ok(ControlFlow::Break(()));
                        }
                        done = at;
                        in_digits = c.is_numeric();
                    }
                }
            }
        }
        hand_on(&text[done..])
    }
}

/// Hands the words of a text, cut by one cut after another, to `sink` until it breaks.
///
/// # Errors
/// `BadShape` if a pattern gives up, and what `sink` says.
pub fn words(
    cuts: &[Cut],
    text: &str,
    sink: &mut dyn FnMut(&str) -> Result<ControlFlow<()>>,
) -> Result<ControlFlow<()>> {
    match cuts {
        [] => sink(text),
        [cut, rest @ ..] => cut.pieces(text, |piece| words(rest, piece, sink)),
    }
}
