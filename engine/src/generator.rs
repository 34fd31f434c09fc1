//! Text to more text: a decoder, its tokenizer and its chat template.
//!
//! Decides the order of checks: sizes first, then memory, then work. Promises that `load` allocates nothing before the
//! computed need was compared with the limit, starts no thread and computes no forward pass, and that a session's whole
//! cache is allocated when it starts, so that a call which began can't run out of memory later. Must not know Python.

use std::sync::Arc;

use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use serde::Deserialize;
use serde_json::Value;

use crate::bpe::BpeTokenizer;
use crate::bpe_file::BpeFile;
use crate::chat::{Chat, Message, Part};
use crate::directory::{Directory, LONGEST_CONFIG, WEIGHTS};
use crate::error::{Error, Result};
use crate::mapping::MappedFile;
use crate::models::llama::{Llama, packed_bytes};
use crate::models::llama_config::{LlamaConfig, token_ids};
use crate::models::llama_state::{Cache, Room, Workspace, state_bytes};
use crate::sampling::Sampler;
use crate::session::{Asked, Session};
use crate::spec::{Spec, Task};
use crate::weights::Weights;

/// Bytes that reading a tokenizer takes at its peak, per byte of its file: measured 17 for a vocabulary of 30,000 and
/// its merges; a test loads it under the computed need.
const TOKENIZER_FACTOR: u64 = 40;
/// Copies of a conversation's text that are alive while a template works on it.
const CHAT_FACTOR: u64 = 12;

/// A loaded model that writes.
pub struct Generator {
    spec: Spec,
    // Before `_file`: its table may live there, and fields are dropped in order.
    llama: Llama,
    _file: MappedFile,
    tokenizer: BpeTokenizer,
    chat: Chat,
    ends: Vec<u32>,
}

/// What chat needs of `tokenizer_config.json`.
#[derive(Deserialize, Default)]
struct TokenizerConfig {
    chat_template: Option<Value>,
    bos_token: Option<Value>,
    eos_token: Option<Value>,
}

#[derive(Deserialize)]
struct GenerationConfig {
    eos_token_id: Option<Value>,
}

/// A file that may be missing, as JSON.
fn json<T: for<'de> Deserialize<'de>>(directory: &Directory<'_>, name: &str) -> Result<Option<T>> {
    if !directory.contains(name) {
        return Ok(None);
    }
    let bytes = directory.read(name, LONGEST_CONFIG)?;
    serde_json::from_slice(&bytes).map(Some).map_err(|error| Error::BadWeights(format!("{name}: {error}")))
}

impl Generator {
    /// Loads a directory whose config.json has the bytes `config`, for a model of this `architecture`.
    ///
    /// # Errors
    /// As [`crate::model::Model::load`].
    pub fn load(directory: &Directory<'_>, config: &[u8], architecture: &'static str) -> Result<Self> {
        let config = LlamaConfig::parse(config, architecture)?;
        let file = directory.weights()?;
        let reading = directory.need_of_reading(&file, TOKENIZER_FACTOR)?;
        directory.afford(reading)?;
        let weights = Weights::open(&file, WEIGHTS)?;
        let Need { parameters, kept, passing } = Need::of(&config, &weights)?;
        directory.afford(kept.saturating_add(passing).saturating_add(reading))?;
        let tokenizer = BpeFile::parse(&directory.tokenizer()?, config.vocab)?;
        let mut warnings = tokenizer.warnings.clone();
        let tokenizer = BpeTokenizer::new(tokenizer, config.vocab)?;
        if tokenizer.missing_bytes() > 0 {
            let missing = tokenizer.missing_bytes();
            warnings.push(format!("tokenizer.json: {missing} values of a byte have no token; they vanish from texts"));
        }
        if tokenizer.special_tokens() + 1 >= config.positions {
            return Err(Error::BadWeights("config.json: max_position_embeddings leaves no room for a text".to_owned()));
        }
        let chat = chat(directory, &tokenizer)?;
        let said: Option<GenerationConfig> = json(directory, "generation_config.json")?;
        let ends = match said.and_then(|said| said.eos_token_id) {
            Some(ids) => token_ids(Some(&ids), config.vocab)?,
            None => config.ends.clone(),
        };
        if ends.is_empty() {
            warnings.push("config.json: eos_token_id is missing: every answer has its full length".to_owned());
        }
        let vb = VarBuilder::from_backend(Box::new(weights), DType::F32, Device::Cpu);
        let llama = Llama::load(&vb, &config)?;
        drop(vb);
        let mut spec = Spec {
            layers: Some(config.layers),
            hidden: Some(config.hidden),
            heads: Some(config.heads),
            kv_heads: Some(config.kv_heads),
            head_width: Some(config.head_width),
            intermediate: Some(config.intermediate),
            vocab: Some(config.vocab),
            max_tokens: Some(config.positions),
            token_expansion: Some(tokenizer.token_expansion()),
            special_tokens: Some(tokenizer.special_tokens()),
            warnings,
            ..Spec::new(Task::Generate, architecture, parameters, kept)
        };
        let made = Self { spec: spec.clone(), llama, _file: file, tokenizer, chat, ends };
        (spec.chat_tokens, spec.message_tokens) = made.chat_overhead()?;
        Ok(Self { spec, ..made })
    }

    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    #[must_use]
    pub fn llama(&self) -> &Llama {
        &self.llama
    }

    #[must_use]
    pub fn tokenizer(&self) -> &BpeTokenizer {
        &self.tokenizer
    }

    /// Whether a token ends an answer.
    #[must_use]
    pub fn ends(&self, id: u32) -> bool {
        self.ends.contains(&id)
    }

    /// The ids of a text, with the special tokens around it.
    ///
    /// # Errors
    /// `BadShape` if there are more than the model takes, `Cancelled`.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.tokenizer.before().to_vec();
        self.append(text, &mut ids)?;
        ids.extend_from_slice(self.tokenizer.after());
        self.check_length(ids.len())?;
        Ok(ids)
    }

    /// The ids of a conversation, as the model's template has it.
    ///
    /// # Errors
    /// `BadShape` if there are more than the model takes or the template refuses the messages, `Cancelled`.
    pub fn encode_chat(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        for part in self.chat.render(messages)? {
            match part {
                Part::Token(id) => ids.push(id),
                Part::Text(text) => self.append(&text, &mut ids)?,
            }
        }
        self.check_length(ids.len())?;
        Ok(ids)
    }

    fn append(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        self.tokenizer.encode(text, self.llama.config().positions, ids)?;
        self.check_length(ids.len())
    }

    fn check_length(&self, tokens: usize) -> Result<()> {
        let limit = self.llama.config().positions;
        if tokens < limit {
            return Ok(());
        }
        let seen = if tokens > limit { format!("more than {limit}") } else { tokens.to_string() };
        Err(Error::BadShape(format!("prompt has {seen} tokens with the special ones; the limit is {}", limit - 1)))
    }

    /// Begins a call; see [`Session`].
    ///
    /// # Errors
    /// `BadShape` naming what does not fit: ids, lengths, sampling or stop strings.
    pub fn start(self: &Arc<Self>, prompt: Vec<u32>, asked: Asked) -> Result<Session> {
        Session::new(Arc::clone(self), prompt, asked)
    }

    /// The logits after each of the ids, `vocab` floats each.
    ///
    /// # Errors
    /// `BadShape` for no ids, too many, or one that is none; `Cancelled`.
    pub fn logits(&self, ids: &[u32]) -> Result<Vec<f32>> {
        self.check_ids(ids)?;
        let config = self.llama.config();
        let (mut cache, mut work) = (Cache::new(config, ids.len())?, Workspace::new(config, Room::alone(ids.len()))?);
        let mut out = vec![0.0; ids.len() * config.vocab];
        self.llama.logits(ids, &mut cache, &mut work, &mut out)?;
        Ok(out)
    }

    /// # Errors
    /// `BadShape` for no ids, more than the model has positions, or one that is none.
    pub fn check_ids(&self, ids: &[u32]) -> Result<()> {
        let LlamaConfig { positions, vocab, .. } = *self.llama.config();
        if ids.is_empty() {
            return Err(Error::BadShape("prompt has no tokens; at least one is needed".to_owned()));
        }
        if ids.len() > positions {
            return Err(Error::BadShape(format!("prompt has {} tokens; the limit is {positions}", ids.len())));
        }
        match ids.iter().enumerate().find(|(_, id)| **id as usize >= vocab) {
            Some((at, id)) => Err(Error::BadShape(format!("prompt has token id {id} at {at}; ids are below {vocab}"))),
            None => Ok(()),
        }
    }

    /// An upper bound of the bytes of a call whose prompt was made of `text_bytes` of text. Saturates.
    #[must_use]
    pub fn peak_bytes(&self, prompt_tokens: usize, max_tokens: usize, text_bytes: usize) -> u64 {
        let config = self.llama.config();
        let positions = prompt_tokens.saturating_add(max_tokens);
        let tokenizing =
            self.tokenizer.peak_bytes(prompt_tokens).saturating_add((text_bytes as u64).saturating_mul(CHAT_FACTOR));
        let running = state_bytes(config, positions).saturating_add(Sampler::bytes(config.vocab));
        // Prompt and text are given back before the cache is made; ids, stop strings and the like are not.
        tokenizing.max(running).saturating_add((positions as u64).saturating_mul(8)).saturating_add(64 << 10)
    }

    /// See [`Llama::flops`].
    #[must_use]
    pub fn flops(&self, prompt_tokens: usize, new_tokens: usize) -> u64 {
        self.llama.flops(prompt_tokens, new_tokens)
    }

    /// Tokens that the template makes of one empty message, and the most that one more adds; nothing if it refuses.
    fn chat_overhead(&self) -> Result<(Option<usize>, Option<usize>)> {
        let tokens = |roles: &[&str]| -> Result<Option<usize>> {
            let messages: Vec<Message> =
                roles.iter().map(|role| Message { role: (*role).to_owned(), content: String::new() }).collect();
            match self.encode_chat(&messages) {
                Ok(ids) => Ok(Some(ids.len())),
                Err(Error::BadShape(_)) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let Some(one) = tokens(&["user"])? else {
            return Ok((None, None));
        };
        let (three, two) = (tokens(&["user", "assistant", "user"])?, tokens(&["system", "user"])?);
        let more = three.into_iter().chain(two).map(|tokens| tokens.saturating_sub(one)).max();
        Ok((Some(one), more))
    }
}

/// What loading takes: for good, and only while it lasts.
struct Need {
    parameters: u64,
    kept: u64,
    passing: u64,
}

impl Need {
    /// Compares every tensor with the configuration on the way.
    fn of(config: &LlamaConfig, weights: &Weights<'_>) -> Result<Self> {
        let overflow = || Error::BadWeights("config.json: the sizes overflow".to_owned());
        let mut kept = packed_bytes(config).ok_or_else(overflow)?;
        let (mut parameters, mut passing) = (0_u64, 0_u64);
        let count = |shape: &[usize]| shape.iter().map(|n| *n as u64).product::<u64>();
        for layer in 0..config.layers {
            let mut layer_passing = 0_u64;
            for (name, shape) in config.layer_tensors(layer) {
                parameters = parameters.saturating_add(count(&shape));
                layer_passing = layer_passing.saturating_add(weights.check(&name, &shape)?);
                if shape.len() == 1 {
                    kept = kept.saturating_add(count(&shape).saturating_mul(4));
                }
            }
            passing = passing.max(layer_passing);
        }
        // Queries, keys and values, or gates and values, are joined before they are packed.
        let (d, widest) = (config.hidden as u64, config.qkv_width().max(2 * config.intermediate) as u64);
        passing = passing.saturating_add(d.saturating_mul(widest).saturating_mul(4));
        for (name, shape) in config.outer_tensors() {
            parameters = parameters.saturating_add(count(&shape));
            let converting = weights.check(&name, &shape)?;
            if name.ends_with("embed_tokens.weight") && !config.tied {
                // In memory if it had to be converted, else in the mapped file: it counts either way.
                kept = kept.saturating_add(count(&shape).saturating_mul(4));
            } else {
                passing = passing.max(converting);
            }
        }
        Ok(Self { parameters, kept, passing })
    }
}

/// The model's template from `chat_template.jinja` or `tokenizer_config.json`, if it has one.
fn chat(directory: &Directory<'_>, tokenizer: &BpeTokenizer) -> Result<Chat> {
    const FILE: &str = "chat_template.jinja";
    let config: TokenizerConfig = json(directory, "tokenizer_config.json")?.unwrap_or_default();
    let template = if directory.contains(FILE) {
        let bytes = directory.read(FILE, LONGEST_CONFIG)?;
        Some(String::from_utf8(bytes).map_err(|error| Error::BadWeights(format!("{FILE}: {error}")))?)
    } else {
        match config.chat_template {
            None => None,
            Some(Value::String(template)) => Some(template),
            // Several by name: the one without tools or documents is called "default".
            Some(Value::Array(named)) => {
                let default = named.iter().find(|one| one.get("name").and_then(Value::as_str) == Some("default"));
                default.and_then(|one| one.get("template")).and_then(Value::as_str).map(str::to_owned)
            }
            Some(_) => return Err(Error::BadWeights("tokenizer_config.json: chat_template is no text".to_owned())),
        }
    };
    let text = |token: Option<Value>| match token {
        Some(Value::String(text)) => text,
        Some(token) => token.get("content").and_then(Value::as_str).unwrap_or_default().to_owned(),
        None => String::new(),
    };
    Chat::new(template, tokenizer.added(), text(config.bos_token), text(config.eos_token))
}
