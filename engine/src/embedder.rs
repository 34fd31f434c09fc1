//! Texts to vectors: a BERT and its tokenizer.
//!
//! Decides the order of checks: sizes first, then memory, then work. Promises that `load` allocates nothing before the
//! computed need was compared with the limit, starts no thread and computes no forward pass, and that `embed` refuses
//! an input that does not fit before it allocates for it. Must not know about Python.

use candle_core::{DType, Device};
use candle_nn::VarBuilder;

use crate::cancel::checkpoint;
use crate::directory::{Directory, LONGEST_CONFIG, WEIGHTS};
use crate::error::{Error, Result};
use crate::kernels::norm::to_unit_length;
use crate::mapping::MappedFile;
use crate::models::bert::{Bert, Pooling, packed_bytes};
use crate::models::bert_config::BertConfig;
use crate::spec::{Spec, Task};
use crate::tokenizer_file::TokenizerFile;
use crate::tokens::Tokenizer;
use crate::weights::Weights;

/// Bytes that reading a tokenizer takes at its peak, per byte of its file: measured 14.9 for MiniLM and 20.2 for a
/// vocabulary of pieces of three characters, the dearest; tests load both under the computed need. A file that is not
/// mostly vocabulary (long lists where objects are expected) can take more before it is refused.
const TOKENIZER_FACTOR: u64 = 24;

/// One input: text, or token ids that stand for text (special tokens are put around both).
pub enum Input<'a> {
    Text(&'a str),
    Ids(&'a [u32]),
}

/// Vectors and what they were made of.
pub struct Embedded {
    /// `inputs` x `hidden`, row by row.
    pub values: Vec<f32>,
    /// Tokens per input, special tokens and truncation included.
    pub tokens: Vec<usize>,
}

/// A loaded encoder of texts.
pub struct Embedder {
    spec: Spec,
    config: BertConfig,
    tokenizer: Tokenizer,
    // Before `_file`: its tables live there, and fields are dropped in order.
    bert: Bert,
    _file: MappedFile,
}

/// Mean over the tokens, unless the directory says otherwise.
fn pooling(directory: &Directory<'_>) -> Result<Pooling> {
    const NAME: &str = "1_Pooling/config.json";
    if !directory.contains(NAME) {
        return Ok(Pooling::Mean);
    }
    let bytes = directory.read(NAME, LONGEST_CONFIG)?;
    let said: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&bytes).map_err(|e| Error::BadWeights(format!("{NAME}: {e}")))?;
    let on = said.iter().filter(|(key, value)| key.starts_with("pooling_mode") && value.as_bool() == Some(true));
    match on.map(|(key, _)| key.as_str()).collect::<Vec<_>>()[..] {
        ["pooling_mode_mean_tokens"] => Ok(Pooling::Mean),
        ["pooling_mode_cls_token"] => Ok(Pooling::First),
        ref other => Err(Error::Unsupported(format!("{NAME}: {other:?}; this engine does one of mean and cls"))),
    }
}

impl Embedder {
    /// Loads a directory whose config.json has the bytes `config`.
    ///
    /// # Errors
    /// As [`crate::model::Model::load`].
    pub fn load(directory: &Directory<'_>, config: &[u8]) -> Result<Self> {
        let config = BertConfig::parse(config)?;
        let pooling = pooling(directory)?;
        let file = directory.weights()?;
        let packed = packed_bytes(&config);
        let packed = packed.ok_or_else(|| Error::BadWeights("config.json: the sizes overflow".to_owned()))?;
        let reading = directory.need_of_reading(&file, TOKENIZER_FACTOR)?;
        directory.afford(reading)?;
        let weights = Weights::open(&file, WEIGHTS)?.beneath("bert.");
        let (parameters, converting) = check_tensors(&config, &weights)?;
        directory.afford(packed.saturating_add(converting).saturating_add(reading))?;
        let tokenizer = TokenizerFile::parse(&directory.tokenizer()?, config.vocab)?;
        let warnings = tokenizer.warnings.clone();
        let tokenizer = Tokenizer::new(tokenizer);
        if tokenizer.special_tokens() >= config.positions {
            return Err(Error::BadWeights("config.json: max_position_embeddings leaves no room for a text".to_owned()));
        }
        let vb = VarBuilder::from_backend(Box::new(weights), DType::F32, Device::Cpu);
        let bert = Bert::load(&vb, &config, pooling)?;
        drop(vb);
        let weight_bytes = packed.saturating_add(parameters.saturating_mul(4)).saturating_sub(dense_bytes(&config));
        let spec = Spec {
            layers: Some(config.layers),
            hidden: Some(config.hidden),
            heads: Some(config.heads),
            intermediate: Some(config.intermediate),
            vocab: Some(config.vocab),
            max_tokens: Some(config.positions),
            dimensions: Some(config.hidden),
            token_expansion: Some(tokenizer.token_expansion()),
            special_tokens: Some(tokenizer.special_tokens()),
            warnings,
            ..Spec::new(Task::Embed, "bert", parameters, weight_bytes)
        };
        Ok(Self { spec, config, tokenizer, bert, _file: file })
    }

    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The most tokens of one text, special tokens included.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        self.config.positions
    }

    /// Vectors of the inputs, in order.
    ///
    /// # Errors
    /// `BadShape` for no inputs, an unknown token id, or too many tokens without `truncate`; `Cancelled`.
    pub fn embed(&self, inputs: &[Input<'_>], truncate: bool, normalize: bool) -> Result<Embedded> {
        if inputs.is_empty() {
            return Err(Error::BadShape("there are no inputs; at least one is needed".to_owned()));
        }
        let mut texts = Vec::with_capacity(inputs.len());
        for (index, input) in inputs.iter().enumerate() {
            checkpoint()?;
            texts.push(self.tokens(index, input, truncate)?);
        }
        let width = self.config.hidden;
        let mut values = vec![0.0; inputs.len() * width];
        self.bert.encode(&texts, &mut values)?;
        if normalize {
            values.chunks_exact_mut(width).for_each(to_unit_length);
        }
        Ok(Embedded { values, tokens: texts.iter().map(Vec::len).collect() })
    }

    /// The ids of one input with the special tokens, checked.
    fn tokens(&self, index: usize, input: &Input<'_>, truncate: bool) -> Result<Vec<u32>> {
        let limit = self.config.positions;
        let room = limit - self.tokenizer.special_tokens();
        let too_many = |seen: &str| {
            Error::BadShape(format!("input {index} has {seen} tokens with the special ones; the limit is {limit}"))
        };
        let ids = match input {
            Input::Text(text) => {
                let (ids, more) = self.tokenizer.encode(text, room);
                if more && !truncate {
                    return Err(too_many(&format!("more than {limit}")));
                }
                self.tokenizer.wrap(&ids)
            }
            Input::Ids(ids) => {
                if ids.len() > room && !truncate {
                    return Err(too_many(&(ids.len() + self.tokenizer.special_tokens()).to_string()));
                }
                let ids = &ids[..ids.len().min(room)];
                let vocab = self.config.vocab;
                if let Some((at, id)) = ids.iter().enumerate().find(|(_, id)| **id as usize >= vocab) {
                    let message = format!("input {index} has token id {id} at {at}; ids are 0 to {}", vocab - 1);
                    return Err(Error::BadShape(message));
                }
                self.tokenizer.wrap(ids)
            }
        };
        if ids.is_empty() {
            return Err(Error::BadShape(format!("input {index} has no tokens, and this model adds none")));
        }
        Ok(ids)
    }

    /// See [`Bert::peak_bytes`], plus ids and results for texts of at least `special_tokens` + 1 tokens on average.
    #[must_use]
    pub fn peak_bytes(&self, tokens: usize, longest: usize) -> u64 {
        let texts = tokens.div_ceil(self.tokenizer.special_tokens().max(1)) as u64;
        let per_text = (self.config.hidden as u64).saturating_mul(4).saturating_add(64);
        // Ids grow by doubling while a text is cut, and are copied once with the special tokens around them.
        let ids = (tokens as u64).saturating_add(longest as u64 * 4).saturating_mul(4);
        self.bert.peak_bytes(tokens, longest).saturating_add(texts.saturating_mul(per_text)).saturating_add(ids)
    }

    /// See [`Bert::flops`].
    #[must_use]
    pub fn flops(&self, lengths: &[usize]) -> u64 {
        self.bert.flops(lengths)
    }
}

/// Compares every tensor with the configuration. Returns how many parameters there are, and the bytes that converting
/// those which can't be used in place takes, with what joining the three attention matrices of one layer takes.
fn check_tensors(config: &BertConfig, weights: &Weights<'_>) -> Result<(u64, u64)> {
    let (mut parameters, mut converting) = (0_u64, (config.hidden as u64).pow(2).saturating_mul(12));
    for (name, shape) in config.tensors() {
        converting = converting.saturating_add(weights.check(&name, &shape)?);
        parameters += shape.iter().map(|n| *n as u64).product::<u64>();
    }
    Ok((parameters, converting))
}

/// Bytes of the matrices as published, which the packed ones replace.
fn dense_bytes(config: &BertConfig) -> u64 {
    let (d, inner) = (config.hidden as u64, config.intermediate as u64);
    (config.layers as u64).saturating_mul(4 * d * d + 2 * d * inner).saturating_mul(4)
}
