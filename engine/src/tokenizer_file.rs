//! tokenizer.json, read as far as BERT's WordPiece goes.
//!
//! Promises that whatever this engine would tokenise differently from the file is refused by field (`Unsupported`), and
//! that what is merely unwise in the file is listed as a warning. Must not know how text is cut.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::tokens::Cleaning;

/// Longer words than this are unwise to allow: the search for pieces takes words times pieces.
const WISE_WORD: usize = 1000;

/// What the tokenizer needs of the file.
pub struct TokenizerFile {
    pub vocab: HashMap<String, u32>,
    pub prefix: String,
    pub longest_word: usize,
    pub unknown: u32,
    pub cleaning: Cleaning,
    /// Special tokens around a text.
    pub before: Vec<u32>,
    pub after: Vec<u32>,
    /// What an operator should know about this file.
    pub warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Published {
    model: Model,
    normalizer: Option<Normalizer>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    truncation: Option<Value>,
    padding: Option<Value>,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: HashMap<String, u32>,
    unk_token: String,
    #[serde(default = "hashes")]
    continuing_subword_prefix: String,
    max_input_chars_per_word: u64,
}

#[derive(Deserialize)]
struct Normalizer {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default = "yes")]
    clean_text: bool,
    #[serde(default = "yes")]
    handle_chinese_chars: bool,
    strip_accents: Option<bool>,
    #[serde(default = "yes")]
    lowercase: bool,
}

#[derive(Deserialize)]
struct AddedToken {
    content: String,
    #[serde(default)]
    special: bool,
}

fn yes() -> bool {
    true
}

fn hashes() -> String {
    "##".to_owned()
}

fn bad(what: impl std::fmt::Display) -> Error {
    Error::BadWeights(format!("tokenizer.json: {what}"))
}

fn unsupported(field: &str, seen: &str, accepted: &str) -> Error {
    Error::Unsupported(format!("tokenizer.json: {field} is {seen}; this engine does {accepted}"))
}

impl TokenizerFile {
    /// Reads the bytes of tokenizer.json for a model of `vocab` token ids.
    ///
    /// # Errors
    /// `BadWeights` if the file is damaged or has ids that the model has not, `Unsupported` as the module says.
    pub fn parse(bytes: &[u8], vocab: usize) -> Result<Self> {
        let file: Published = serde_json::from_slice(bytes).map_err(bad)?;
        let kind = file.model.kind.as_deref().unwrap_or("WordPiece");
        if kind != "WordPiece" {
            return Err(unsupported("model.type", kind, "WordPiece"));
        }
        file.refuse_what_is_not_done()?;
        let Some(unknown) = file.model.vocab.get(&file.model.unk_token).copied() else {
            return Err(bad(format!("model.unk_token {} is not in the vocabulary", file.model.unk_token)));
        };
        let normalizer = file.normalizer.as_ref();
        let lowercase = normalizer.is_some_and(|n| n.lowercase);
        let (before, after) = surroundings(file.post_processor.as_ref())?;
        let largest = file.model.vocab.values().chain(&before).chain(&after).max().copied().unwrap_or(0);
        if largest as usize >= vocab {
            return Err(bad(format!("has token id {largest}; config.json has vocab_size {vocab}")));
        }
        let warnings = file.warnings();
        Ok(Self {
            unknown,
            cleaning: Cleaning {
                clean_text: normalizer.is_some_and(|n| n.clean_text),
                separate_ideographs: normalizer.is_some_and(|n| n.handle_chinese_chars),
                strip_accents: normalizer.is_some_and(|n| n.strip_accents.unwrap_or(lowercase)),
                lowercase,
            },
            longest_word: usize::try_from(file.model.max_input_chars_per_word).unwrap_or(usize::MAX),
            prefix: file.model.continuing_subword_prefix,
            vocab: file.model.vocab,
            before,
            after,
            warnings,
        })
    }
}

impl Published {
    fn refuse_what_is_not_done(&self) -> Result<()> {
        if let Some(normalizer) = self.normalizer.as_ref().filter(|n| n.kind != "BertNormalizer") {
            return Err(unsupported("normalizer.type", &normalizer.kind, "BertNormalizer or none"));
        }
        let cutter =
            self.pre_tokenizer.as_ref().and_then(|p| p.get("type")).and_then(Value::as_str).unwrap_or("missing");
        if cutter != "BertPreTokenizer" {
            return Err(unsupported("pre_tokenizer.type", cutter, "BertPreTokenizer"));
        }
        if self.model.continuing_subword_prefix.is_empty() {
            return Err(unsupported("model.continuing_subword_prefix", "empty", "prefixes such as ##"));
        }
        match self.added_tokens.iter().find(|token| !token.special) {
            Some(token) => {
                Err(unsupported("added_tokens", &format!("{:?}, not special", token.content), "special ones"))
            }
            None => Ok(()),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let longest = self.model.max_input_chars_per_word;
        if longest > WISE_WORD as u64 {
            warnings.push(format!(
                "tokenizer.json: max_input_chars_per_word is {longest}: a long word takes long to cut; 100 is usual"
            ));
        }
        if self.truncation.is_some() {
            warnings
                .push("tokenizer.json: truncation is set in the file; it is ignored, the caller decides".to_owned());
        }
        if self.padding.is_some() {
            warnings.push("tokenizer.json: padding is set in the file; it is ignored, nothing is padded".to_owned());
        }
        warnings
    }
}

/// The special tokens that the post-processor puts around a single text.
///
/// # Errors
/// `Unsupported` for a processor that does more, `BadWeights` for one that is damaged.
pub fn surroundings(processor: Option<&Value>) -> Result<(Vec<u32>, Vec<u32>)> {
    let Some(processor) = processor else {
        return Ok((Vec::new(), Vec::new()));
    };
    match processor.get("type").and_then(Value::as_str) {
        Some("TemplateProcessing") => template(processor),
        Some("BertProcessing") => {
            let id = |name: &str| {
                let id = processor.get(name).and_then(|pair| pair.get(1)).and_then(Value::as_u64);
                let id = id.and_then(|id| u32::try_from(id).ok());
                id.ok_or_else(|| bad(format!("post_processor.{name} is no pair of token and id")))
            };
            Ok((vec![id("cls")?], vec![id("sep")?]))
        }
        other => {
            Err(unsupported("post_processor.type", other.unwrap_or("missing"), "TemplateProcessing, BertProcessing"))
        }
    }
}

fn template(processor: &Value) -> Result<(Vec<u32>, Vec<u32>)> {
    let pieces = processor.get("single").and_then(Value::as_array);
    let pieces = pieces.ok_or_else(|| bad("post_processor.single is no list"))?;
    let (mut before, mut after, mut passed) = (Vec::new(), Vec::new(), false);
    for piece in pieces {
        let (part, is_text) = match (piece.get("SpecialToken"), piece.get("Sequence")) {
            (Some(token), None) => (token, false),
            (None, Some(text)) => (text, true),
            _ => {
                return Err(bad("post_processor.single has a piece that is neither token nor sequence"));
            }
        };
        if part.get("type_id").and_then(Value::as_u64) != Some(0) {
            return Err(unsupported("post_processor.single", "of another type_id than 0", "type_id 0"));
        }
        if is_text {
            if passed {
                return Err(unsupported("post_processor.single", "the text twice", "the text once"));
            }
            passed = true;
            continue;
        }
        let name = part.get("id").and_then(Value::as_str).unwrap_or_default();
        let ids =
            processor.get("special_tokens").and_then(|tokens| tokens.get(name)).and_then(|token| token.get("ids"));
        let ids = ids.and_then(|ids| Vec::<u32>::deserialize(ids).ok());
        let ids = ids.ok_or_else(|| bad(format!("post_processor.special_tokens has no ids for {name:?}")))?;
        if passed { &mut after } else { &mut before }.extend(ids);
    }
    if !passed {
        return Err(unsupported("post_processor.single", "without the text", "the text once"));
    }
    Ok((before, after))
}
