//! tokenizer.json, read as far as byte-level BPE goes (Llama 3, Qwen2, GPT-2 and what follows them).
//!
//! Promises that whatever this engine would tokenise differently from the file is refused by field (`Unsupported`), and
//! that what is merely unwise in the file is listed as a warning. Must not know how text is cut.

use serde::Deserialize;
use serde_json::Value;
use tokenizers::models::bpe::BPE;

use crate::cuts::Cut;
use crate::error::{Error, Result};
use crate::tokenizer_file::surroundings;

/// What the tokenizer needs of the file.
pub struct BpeFile {
    pub bpe: BPE,
    pub cuts: Vec<Cut>,
    /// Whether text is composed (NFC) first.
    pub compose: bool,
    pub prefix_space: bool,
    pub added: Vec<AddedToken>,
    /// Special tokens around a text.
    pub before: Vec<u32>,
    pub after: Vec<u32>,
    /// What an operator should know about this file.
    pub warnings: Vec<String>,
}

/// A token that is not made of merges. `special` ones are never part of what a reader sees.
#[derive(Clone, Deserialize, Debug)]
#[allow(clippy::struct_excessive_bools)] // as published
pub struct AddedToken {
    pub id: u32,
    pub content: String,
    #[serde(default)]
    pub special: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    single_word: bool,
}

#[derive(Deserialize)]
struct Published {
    model: BPE,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    decoder: Option<Value>,
    truncation: Option<Value>,
    padding: Option<Value>,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
}

fn bad(what: impl std::fmt::Display) -> Error {
    Error::BadWeights(format!("tokenizer.json: {what}"))
}

fn unsupported(field: &str, seen: &str, accepted: &str) -> Error {
    Error::Unsupported(format!("tokenizer.json: {field} is {seen}; this engine does {accepted}"))
}

fn kind(value: &Value) -> &str {
    value.get("type").and_then(Value::as_str).unwrap_or("missing")
}

/// The parts of a sequence, or the one part that stands for itself. `name` is what the parts are called in the file.
fn parts<'a>(value: Option<&'a Value>, name: &str) -> Vec<&'a Value> {
    match value {
        Some(value) if kind(value) == "Sequence" => {
            value.get(name).and_then(Value::as_array).map(|parts| parts.iter().collect()).unwrap_or_default()
        }
        Some(value) => vec![value],
        None => Vec::new(),
    }
}

impl BpeFile {
    /// Reads the bytes of tokenizer.json for a model of `vocab` token ids.
    ///
    /// # Errors
    /// `BadWeights` if the file is damaged or has ids that the model has not, `Unsupported` as the module says.
    pub fn parse(bytes: &[u8], vocab: usize) -> Result<Self> {
        // Before the whole, so that another kind of tokenizer is refused by its name and not by what it lacks.
        let sketch: Sketch = serde_json::from_slice(bytes).map_err(bad)?;
        if sketch.model.kind.as_deref().is_some_and(|kind| kind != "BPE") {
            return Err(unsupported("model.type", sketch.model.kind.as_deref().unwrap_or_default(), "BPE"));
        }
        let mut file: Published = serde_json::from_slice(bytes).map_err(bad)?;
        // The cache would grow from one call to the next, by what callers send.
        file.model.resize_cache(0);
        file.refuse_what_is_not_done()?;
        let compose = composes(file.normalizer.as_ref())?;
        let (cuts, prefix_space) = cutting(file.pre_tokenizer.as_ref())?;
        let (before, after) = file.surroundings()?;
        let largest = file.added_tokens.iter().map(|token| token.id).chain(before.iter().chain(&after).copied()).max();
        if let Some(id) = largest.filter(|id| *id as usize >= vocab) {
            return Err(bad(format!("has token id {id}; config.json has vocab_size {vocab}")));
        }
        let warnings = file.warnings(&cuts);
        Ok(Self { bpe: file.model, cuts, compose, prefix_space, added: file.added_tokens, before, after, warnings })
    }
}

#[derive(Deserialize)]
struct Sketch {
    model: SketchOfModel,
}

#[derive(Deserialize)]
struct SketchOfModel {
    #[serde(rename = "type")]
    kind: Option<String>,
}

impl Published {
    fn refuse_what_is_not_done(&self) -> Result<()> {
        let model = &self.model;
        if model.byte_fallback {
            return Err(unsupported("model.byte_fallback", "true", "byte-level BPE, which needs none"));
        }
        if model.dropout.is_some_and(|dropout| dropout != 0.0) {
            return Err(unsupported("model.dropout", "set", "none"));
        }
        for (name, value) in [
            ("continuing_subword_prefix", &model.continuing_subword_prefix),
            ("end_of_word_suffix", &model.end_of_word_suffix),
        ] {
            if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
                return Err(unsupported(&format!("model.{name}"), value, "none"));
            }
        }
        match self.decoder.as_ref().map(kind) {
            Some("ByteLevel") => Ok(()),
            other => Err(unsupported("decoder.type", other.unwrap_or("missing"), "ByteLevel")),
        }
    }

    fn surroundings(&self) -> Result<(Vec<u32>, Vec<u32>)> {
        let mut found = (Vec::new(), Vec::new());
        for part in parts(self.post_processor.as_ref(), "processors") {
            // ByteLevel here only corrects offsets, which nobody asks for.
            if kind(part) != "ByteLevel" {
                found = surroundings(Some(part))?;
            }
        }
        Ok(found)
    }

    fn warnings(&self, cuts: &[Cut]) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut warn = |what: &str| warnings.push(format!("tokenizer.json: {what}"));
        if self.truncation.is_some() {
            warn("truncation is set in the file; it is ignored, the caller decides");
        }
        if self.padding.is_some() {
            warn("padding is set in the file; it is ignored, nothing is padded");
        }
        if cuts.iter().any(|cut| !cut.is_known()) {
            warn("the split pattern is none of the published ones: how long it takes on hostile text is not known");
        }
        let fussy = self.added_tokens.iter().filter(|token| token.lstrip || token.rstrip || token.single_word).count();
        if fussy > 0 {
            warn(&format!(
                "{fussy} added tokens want lstrip, rstrip or single_word; they are taken as they are spelled"
            ));
        }
        warnings
    }
}

fn composes(normalizer: Option<&Value>) -> Result<bool> {
    let mut compose = false;
    for part in parts(normalizer, "normalizers") {
        match kind(part) {
            "NFC" => compose = true,
            other => return Err(unsupported("normalizer.type", other, "NFC or none")),
        }
    }
    Ok(compose)
}

/// The cuts before merging, and whether a space is put before the text.
fn cutting(pre_tokenizer: Option<&Value>) -> Result<(Vec<Cut>, bool)> {
    let parts = parts(pre_tokenizer, "pretokenizers");
    let Some((last, rest)) = parts.split_last().filter(|(last, _)| kind(last) == "ByteLevel") else {
        let seen = parts.last().map_or("missing", |part| kind(part));
        return Err(unsupported("pre_tokenizer", &format!("ending in {seen}"), "ByteLevel at the end"));
    };
    let mut cuts = rest.iter().map(|part| cut(part)).collect::<Result<Vec<_>>>()?;
    let flag = |name: &str| last.get(name).and_then(Value::as_bool).unwrap_or(true);
    if flag("use_regex") {
        cuts.push(Cut::gpt2()?);
    }
    if flag("add_prefix_space") && !rest.is_empty() {
        return Err(unsupported("pre_tokenizer.add_prefix_space", "true after another cut", "false there"));
    }
    Ok((cuts, flag("add_prefix_space")))
}

fn cut(part: &Value) -> Result<Cut> {
    match kind(part) {
        "Digits" => Ok(Cut::Digits { alone: part.get("individual_digits").and_then(Value::as_bool).unwrap_or(false) }),
        "Split" => {
            let behavior = part.get("behavior").and_then(Value::as_str).unwrap_or("missing");
            if behavior != "Isolated" || part.get("invert").and_then(Value::as_bool) == Some(true) {
                return Err(unsupported("pre_tokenizer.behavior", behavior, "Isolated, not inverted"));
            }
            let pattern = part.get("pattern").and_then(|pattern| pattern.get("Regex")).and_then(Value::as_str);
            Cut::pattern(pattern.ok_or_else(|| unsupported("pre_tokenizer.pattern", "no Regex", "a Regex"))?)
        }
        other => Err(unsupported("pre_tokenizer.type", other, "Split, Digits and ByteLevel")),
    }
}
