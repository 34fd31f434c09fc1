//! What config.json says about a ResNet classifier, checked before anything is believed.
//!
//! Lays the network out as a list of convolutions with the names of their tensors; the model and the checks walk the
//! same list.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::field::{LARGEST, bounded, published, unsupported};
use super::vit_config::{labels, two_labels};
use crate::error::{Error, Result};
use crate::kernels::convolution::Window;

/// How much narrower the middle of a bottleneck block is.
const REDUCTION: usize = 4;

#[derive(Deserialize)]
struct Published {
    #[serde(default = "three")]
    num_channels: u64,
    embedding_size: u64,
    hidden_sizes: Vec<u64>,
    depths: Vec<u64>,
    layer_type: String,
    hidden_act: String,
    #[serde(default)]
    downsample_in_first_stage: bool,
    #[serde(default)]
    downsample_in_bottleneck: bool,
    #[serde(default = "two_labels")]
    id2label: BTreeMap<String, String>,
}

fn three() -> u64 {
    3
}

/// One convolution with its batch normalisation.
#[derive(Clone, Debug)]
pub struct Conv {
    pub name: String,
    pub from: usize,
    pub to: usize,
    pub window: Window,
}

/// Convolutions one after another, and around them a shortcut: a convolution, or nothing where sizes agree.
#[derive(Clone, Debug)]
pub struct Block {
    pub convs: Vec<Conv>,
    pub shortcut: Option<Conv>,
}

/// The shape of a ResNet classifier.
#[derive(Clone, Debug)]
pub struct ResNetConfig {
    pub stem: Conv,
    pub blocks: Vec<Block>,
    /// Channels at the end.
    pub hidden: usize,
    pub labels: Vec<String>,
}

/// The pooling after the stem.
pub const POOL: Window = Window { kernel: 3, stride: 2, padding: 1 };

fn conv(name: String, (from, to): (usize, usize), kernel: usize, stride: usize) -> Conv {
    Conv { name, from, to, window: Window { kernel, stride, padding: kernel / 2 } }
}

impl Published {
    fn block(&self, at: &str, (from, to): (usize, usize), stride: usize) -> Block {
        let name = |layer: usize| format!("{at}.layer.{layer}");
        let convs = if self.layer_type == "basic" {
            vec![conv(name(0), (from, to), 3, stride), conv(name(1), (to, to), 3, 1)]
        } else {
            let middle = to / REDUCTION;
            let (first, second) = if self.downsample_in_bottleneck { (stride, 1) } else { (1, stride) };
            vec![
                conv(name(0), (from, middle), 1, first),
                conv(name(1), (middle, middle), 3, second),
                conv(name(2), (middle, to), 1, 1),
            ]
        };
        let shortcut = (from != to || stride != 1).then(|| conv(format!("{at}.shortcut"), (from, to), 1, stride));
        Block { convs, shortcut }
    }
}

impl ResNetConfig {
    /// Reads the bytes of config.json.
    ///
    /// # Errors
    /// `BadWeights` if it is not a sound configuration, `Unsupported` if it is a sound one of something else.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let said: Published = published(bytes, "resnet")?;
        if said.hidden_act != "relu" {
            return Err(unsupported("hidden_act", &said.hidden_act, "\"relu\""));
        }
        if said.num_channels != 3 {
            return Err(unsupported("num_channels", &said.num_channels.to_string(), "3"));
        }
        if !matches!(said.layer_type.as_str(), "basic" | "bottleneck") {
            return Err(unsupported("layer_type", &said.layer_type, "\"basic\" and \"bottleneck\""));
        }
        if said.depths.len() != said.hidden_sizes.len() || said.depths.is_empty() || said.depths.len() > 16 {
            let message = "config.json: depths and hidden_sizes must be lists of one length, 1 to 16";
            return Err(Error::BadWeights(message.to_owned()));
        }
        let mut from = bounded("embedding_size", said.embedding_size, LARGEST)?;
        let stem = conv("resnet.embedder.embedder".to_owned(), (3, from), 7, 2);
        let mut blocks = Vec::new();
        for (stage, (depth, size)) in said.depths.iter().zip(&said.hidden_sizes).enumerate() {
            let (depth, to) = (bounded("depths", *depth, 256)?, bounded("hidden_sizes", *size, LARGEST)?);
            if said.layer_type == "bottleneck" && !to.is_multiple_of(REDUCTION) {
                return Err(Error::BadWeights(format!(
                    "config.json: hidden_sizes has {to}, no multiple of {REDUCTION}"
                )));
            }
            for layer in 0..depth {
                let halves = layer == 0 && (stage > 0 || said.downsample_in_first_stage);
                let at = format!("resnet.encoder.stages.{stage}.layers.{layer}");
                blocks.push(said.block(&at, (from, to), if halves { 2 } else { 1 }));
                from = to;
            }
        }
        Ok(Self { stem, blocks, hidden: from, labels: labels(&said.id2label)? })
    }

    /// Every convolution, in order.
    pub fn convs(&self) -> impl Iterator<Item = &Conv> {
        let blocks = self.blocks.iter().flat_map(|block| block.convs.iter().chain(block.shortcut.as_ref()));
        std::iter::once(&self.stem).chain(blocks)
    }

    /// The matrices that are packed, as (k, n).
    pub fn matrices(&self) -> impl Iterator<Item = (usize, usize)> {
        let convs = self.convs().map(|conv| (conv.window.kernel.pow(2) * conv.from, conv.to));
        convs.chain([(self.hidden, self.labels.len())])
    }

    /// Names and shapes of the tensors that must be in the weights.
    pub fn tensors(&self) -> impl Iterator<Item = (String, Vec<usize>)> + '_ {
        let convs = self.convs().flat_map(|conv| {
            let kernel = conv.window.kernel;
            let weight = (format!("{}.convolution.weight", conv.name), vec![conv.to, conv.from, kernel, kernel]);
            let norm = ["weight", "bias", "running_mean", "running_var"];
            let norm = norm.map(|part| (format!("{}.normalization.{part}", conv.name), vec![conv.to]));
            std::iter::once(weight).chain(norm)
        });
        let classes = self.labels.len();
        let head = [("weight", vec![classes, self.hidden]), ("bias", vec![classes])];
        convs.chain(head.map(|(part, shape)| (format!("classifier.1.{part}"), shape)))
    }
}
