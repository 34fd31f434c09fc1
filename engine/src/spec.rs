//! What a loaded model is, in numbers: the same record for every task.
//!
//! Promises that a number which a model has not is `None`, never a stand-in. Must not know any architecture.

/// What a model does with an input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Task {
    Embed,
    Generate,
    Classify,
    Forecast,
}

impl Task {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Embed => "embed",
            Self::Generate => "generate",
            Self::Classify => "classify",
            Self::Forecast => "forecast",
        }
    }
}

/// Counts, unless named otherwise; what each means to a caller is in `_engine.pyi`.
#[derive(Clone, Debug)]
pub struct Spec {
    pub task: Task,
    pub architecture: &'static str,
    pub parameters: u64,
    pub weight_bytes: u64,
    pub warnings: Vec<String>,
    pub layers: Option<usize>,
    pub hidden: Option<usize>,
    pub heads: Option<usize>,
    pub kv_heads: Option<usize>,
    pub head_width: Option<usize>,
    pub intermediate: Option<usize>,
    pub vocab: Option<usize>,
    pub max_tokens: Option<usize>,
    pub dimensions: Option<usize>,
    pub token_expansion: Option<f32>,
    pub special_tokens: Option<usize>,
    pub chat_tokens: Option<usize>,
    pub message_tokens: Option<usize>,
}

impl Spec {
    /// A record of what every model has; the rest is `None` until it is set.
    #[must_use]
    pub fn new(task: Task, architecture: &'static str, parameters: u64, weight_bytes: u64) -> Self {
        Self {
            task,
            architecture,
            parameters,
            weight_bytes,
            warnings: Vec::new(),
            layers: None,
            hidden: None,
            heads: None,
            kv_heads: None,
            head_width: None,
            intermediate: None,
            vocab: None,
            max_tokens: None,
            dimensions: None,
            token_expansion: None,
            special_tokens: None,
            chat_tokens: None,
            message_tokens: None,
        }
    }
}
