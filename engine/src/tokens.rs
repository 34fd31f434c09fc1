//! Text to token ids for BERT's WordPiece, one character at a time.
//!
//! Reads tokenizer.json and gives exactly the ids that Hugging Face's `tokenizers` gives (a test compares the two),
//! with three differences that matter under attack. It streams: memory does not grow with the text, and counting
//! stops as soon as the limit is passed, so a text of any size costs no more than its first tokens do. The spelling of
//! a special token in a text is plain text. The file's own truncation and padding are ignored, the caller decides.
//! Must not know about tensors. What it can't do exactly it refuses at load as `Unsupported`.

use std::collections::HashMap;

use ahash::RandomState;
use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::UnicodeNormalization;

use crate::tokenizer_file::TokenizerFile;

type Pieces = HashMap<Box<str>, u32, RandomState>;

/// How text is cleaned before it is cut, in this order (Hugging Face's `BertNormalizer`).
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // as the file has them
pub struct Cleaning {
    pub clean_text: bool,
    pub separate_ideographs: bool,
    pub strip_accents: bool,
    pub lowercase: bool,
}

/// A WordPiece tokenizer.
pub struct Tokenizer {
    cleaning: Cleaning,
    /// Pieces that begin a word, and pieces that continue one, without their prefix.
    initial: Pieces,
    continuing: Pieces,
    longest_piece: usize,
    longest_word: usize,
    unknown: u32,
    before: Vec<u32>,
    after: Vec<u32>,
}

impl Tokenizer {
    /// Takes over what a tokenizer file says.
    #[must_use]
    pub fn new(file: TokenizerFile) -> Self {
        // Fixed seeds: the keys are the model's, a caller can't choose what collides.
        let state = || RandomState::with_seeds(1, 2, 3, 4);
        let (mut initial, mut continuing) = (Pieces::with_hasher(state()), Pieces::with_hasher(state()));
        let mut longest_piece = 0;
        for (piece, id) in file.vocab {
            longest_piece = longest_piece.max(piece.len());
            if let Some(rest) = piece.strip_prefix(&file.prefix) {
                continuing.insert(rest.into(), id);
            }
            initial.insert(piece.into_boxed_str(), id);
        }
        initial.shrink_to_fit();
        continuing.shrink_to_fit();
        let (before, after) = (file.before, file.after);
        let (cleaning, longest_word, unknown) = (file.cleaning, file.longest_word, file.unknown);
        Self { cleaning, initial, continuing, longest_piece, longest_word, unknown, before, after }
    }

    /// Tokens that `encode` and `wrap` add to every text.
    #[must_use]
    pub fn special_tokens(&self) -> usize {
        self.before.len() + self.after.len()
    }

    /// The most tokens one byte of text can become. Every token takes at least one character of the cleaned text, so
    /// this is the most characters that cleaning makes of one byte: 1 for ASCII, and canonical decomposition and
    /// lower case never make more characters than a character has bytes (a test goes through all of Unicode).
    #[must_use]
    pub fn token_expansion(&self) -> f32 {
        1.0
    }

    /// Special tokens around content ids.
    #[must_use]
    pub fn wrap(&self, content: &[u32]) -> Vec<u32> {
        let mut ids = Vec::with_capacity(content.len() + self.special_tokens());
        ids.extend_from_slice(&self.before);
        ids.extend_from_slice(content);
        ids.extend_from_slice(&self.after);
        ids
    }

    /// The ids of a text's first `most` tokens, special tokens not among them, and whether there would be more.
    #[must_use]
    pub fn encode(&self, text: &str, most: usize) -> (Vec<u32>, bool) {
        let mut cutter = Cutter { tokenizer: self, ids: Vec::new(), word: String::new(), characters: 0 };
        let Cleaning { clean_text, separate_ideographs, strip_accents, lowercase } = self.cleaning;
        let cleaned = text
            .chars()
            .filter(move |c| !clean_text || !is_dropped(*c))
            .map(move |c| if clean_text && c.is_whitespace() { ' ' } else { c });
        let separated = cleaned.flat_map(move |c| {
            let apart = separate_ideographs && is_ideograph(c);
            [apart.then_some(' '), Some(c), apart.then_some(' ')].into_iter().flatten()
        });
        let take = |c: char, cutter: &mut Cutter<'_>| {
            if lowercase {
                for lower in c.to_lowercase() {
                    cutter.character(lower);
                }
            } else {
                cutter.character(c);
            }
            cutter.ids.len() > most
        };
        // Two loops and not a boxed iterator: this is where the time of long texts goes.
        if strip_accents {
            for (c, _) in separated.nfd().filter(|(c, _)| !c.is_mark_nonspacing()) {
                if take(c, &mut cutter) {
                    break;
                }
            }
        } else {
            for c in separated {
                if take(c, &mut cutter) {
                    break;
                }
            }
        }
        cutter.end_word();
        let more = cutter.ids.len() > most;
        cutter.ids.truncate(most);
        (cutter.ids, more)
    }
}

/// Collects words and cuts them into pieces.
struct Cutter<'a> {
    tokenizer: &'a Tokenizer,
    ids: Vec<u32>,
    word: String,
    /// Of the present word; the word itself is not kept beyond the longest one allowed.
    characters: usize,
}

impl Cutter<'_> {
    #[inline]
    fn character(&mut self, c: char) {
        if c.is_whitespace() {
            self.end_word();
        } else if is_punctuation(c) {
            self.end_word();
            self.word.push(c);
            self.characters = 1;
            self.end_word();
        } else {
            if self.characters < self.tokenizer.longest_word {
                self.word.push(c);
            }
            self.characters += 1;
        }
    }

    /// Greedy longest match from the left; a word with a part that matches nothing is unknown as a whole.
    fn end_word(&mut self) {
        if self.characters == 0 {
            return;
        }
        let first = self.ids.len();
        let too_long = self.characters > self.tokenizer.longest_word;
        let mut rest = self.word.as_str();
        let mut pieces = &self.tokenizer.initial;
        while !too_long && !rest.is_empty() {
            let longest = rest.floor_char_boundary(self.tokenizer.longest_piece);
            let hit = (1..=longest).rev().find_map(|end| Some((end, *pieces.get(rest.get(..end)?)?)));
            let Some((end, id)) = hit else { break };
            self.ids.push(id);
            rest = &rest[end..];
            pieces = &self.tokenizer.continuing;
        }
        if too_long || !rest.is_empty() {
            self.ids.truncate(first);
            self.ids.push(self.tokenizer.unknown);
        }
        self.word.clear();
        self.characters = 0;
    }
}

/// NUL, the replacement character, and what Unicode calls other (control, format, private, unassigned), but not the
/// three that are whitespace.
fn is_dropped(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' | ' '..='~' => false,
        '\0' | '\u{fffd}' => true,
        _ => c.is_other(),
    }
}

fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() || (!c.is_ascii() && c.is_punctuation())
}

/// The blocks that BERT takes for Chinese characters, with the original's gaps.
fn is_ideograph(c: char) -> bool {
    matches!(u32::from(c),
        0x4E00..=0x9FFF | 0x3400..=0x4DBF | 0x20000..=0x2A6DF | 0x2A700..=0x2B73F
        | 0x2B740..=0x2B81F | 0x2B920..=0x2CEAF | 0xF900..=0xFAFF | 0x2F800..=0x2FA1F)
}
