//! What config.json says about a ViT classifier, checked before anything is believed.
//!
//! Lists the tensors that the weights must hold, under either of the two spellings that transformers has published:
//! `vit.encoder.layer.0.attention.attention.query` until version 4, `vit.layers.0.attention.q_proj` from 5 on.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::field::{LARGEST, MOST_LAYERS, bounded, epsilon, published, unsupported};
use crate::error::{Error, Result};

#[derive(Deserialize)]
struct Published {
    hidden_size: u64,
    num_hidden_layers: u64,
    num_attention_heads: u64,
    intermediate_size: u64,
    image_size: u64,
    patch_size: u64,
    #[serde(default = "three")]
    num_channels: u64,
    layer_norm_eps: f64,
    hidden_act: String,
    #[serde(default = "yes")]
    qkv_bias: bool,
    #[serde(default = "two_labels")]
    id2label: BTreeMap<String, String>,
}

fn three() -> u64 {
    3
}

fn yes() -> bool {
    true
}

/// What transformers takes when a configuration names no labels.
#[must_use]
pub fn two_labels() -> BTreeMap<String, String> {
    ["0", "1"].map(|id| (id.to_owned(), format!("LABEL_{id}"))).into()
}

/// The names of the classes, in the order of the logits.
///
/// # Errors
/// `BadWeights` if the ids are not 0 to n - 1.
pub fn labels(id2label: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let names = (0..id2label.len()).map(|id| id2label.get(&id.to_string()).cloned()).collect::<Option<Vec<_>>>();
    names
        .filter(|names| !names.is_empty())
        .ok_or_else(|| Error::BadWeights("config.json: id2label must name the classes 0 to n - 1".to_owned()))
}

/// The shape of a ViT classifier. Images and patches are square.
#[derive(Clone, Debug)]
pub struct VitConfig {
    pub layers: usize,
    pub hidden: usize,
    pub heads: usize,
    pub intermediate: usize,
    pub image: usize,
    pub patch: usize,
    pub eps: f32,
    pub qkv_bias: bool,
    pub labels: Vec<String>,
}

/// How the weights spell what is in a layer.
pub struct Spelling {
    pub layer: &'static str,
    pub query: &'static str,
    pub key: &'static str,
    pub value: &'static str,
    pub projection: &'static str,
    pub expand: &'static str,
    pub contract: &'static str,
}

/// transformers from version 5 on.
pub const NEW: Spelling = Spelling {
    layer: "vit.layers",
    query: "attention.q_proj",
    key: "attention.k_proj",
    value: "attention.v_proj",
    projection: "attention.o_proj",
    expand: "mlp.fc1",
    contract: "mlp.fc2",
};
/// transformers until version 4.
pub const OLD: Spelling = Spelling {
    layer: "vit.encoder.layer",
    query: "attention.attention.query",
    key: "attention.attention.key",
    value: "attention.attention.value",
    projection: "attention.output.dense",
    expand: "intermediate.dense",
    contract: "output.dense",
};

impl VitConfig {
    /// Reads the bytes of config.json.
    ///
    /// # Errors
    /// `BadWeights` if it is not a sound configuration, `Unsupported` if it is a sound one of something else.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let said: Published = published(bytes, "vit")?;
        if said.hidden_act != "gelu" {
            return Err(unsupported("hidden_act", &said.hidden_act, "\"gelu\" (the erf form)"));
        }
        if said.num_channels != 3 {
            return Err(unsupported("num_channels", &said.num_channels.to_string(), "3"));
        }
        let config = Self {
            layers: bounded("num_hidden_layers", said.num_hidden_layers, MOST_LAYERS)?,
            hidden: bounded("hidden_size", said.hidden_size, LARGEST)?,
            heads: bounded("num_attention_heads", said.num_attention_heads, LARGEST)?,
            intermediate: bounded("intermediate_size", said.intermediate_size, LARGEST)?,
            image: bounded("image_size", said.image_size, 1 << 14)?,
            patch: bounded("patch_size", said.patch_size, 1 << 10)?,
            eps: epsilon("layer_norm_eps", said.layer_norm_eps)?,
            qkv_bias: said.qkv_bias,
            labels: labels(&said.id2label)?,
        };
        let (hidden, heads) = (config.hidden, config.heads);
        if !hidden.is_multiple_of(heads) {
            let message = format!("config.json: hidden_size {hidden} is no multiple of num_attention_heads {heads}");
            return Err(Error::BadWeights(message));
        }
        let (image, patch) = (config.image, config.patch);
        if image < patch {
            return Err(Error::BadWeights(format!("config.json: image_size {image} is below patch_size {patch}")));
        }
        Ok(config)
    }

    /// Patches along a side. Pixels beyond the last whole patch are not looked at, as in the reference.
    #[must_use]
    pub fn side(&self) -> usize {
        self.image / self.patch
    }

    /// Patches and the class token.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.side() * self.side() + 1
    }

    /// Values of one patch.
    #[must_use]
    pub fn patch_len(&self) -> usize {
        3 * self.patch * self.patch
    }

    /// The matrices that are packed, as (k, n).
    pub fn matrices(&self) -> impl Iterator<Item = (usize, usize)> {
        let (d, inner) = (self.hidden, self.intermediate);
        let layer = [(d, 3 * d), (d, d), (d, inner), (inner, d)];
        let ends = [(self.patch_len(), d), (d, self.labels.len())];
        ends.into_iter().chain((0..self.layers).flat_map(move |_| layer))
    }

    /// Names and shapes of the tensors that must be in the weights.
    pub fn tensors(&self, spelling: &'static Spelling) -> impl Iterator<Item = (String, Vec<usize>)> + '_ {
        let (d, inner, classes) = (self.hidden, self.intermediate, self.labels.len());
        let embeddings = "vit.embeddings";
        let fixed = [
            (format!("{embeddings}.cls_token"), vec![1, 1, d]),
            (format!("{embeddings}.position_embeddings"), vec![1, self.tokens(), d]),
            (format!("{embeddings}.patch_embeddings.projection.weight"), vec![d, 3, self.patch, self.patch]),
            (format!("{embeddings}.patch_embeddings.projection.bias"), vec![d]),
            ("vit.layernorm.weight".to_owned(), vec![d]),
            ("vit.layernorm.bias".to_owned(), vec![d]),
            ("classifier.weight".to_owned(), vec![classes, d]),
            ("classifier.bias".to_owned(), vec![classes]),
        ];
        let linear = [
            (spelling.query, d, d, self.qkv_bias),
            (spelling.key, d, d, self.qkv_bias),
            (spelling.value, d, d, self.qkv_bias),
            (spelling.projection, d, d, true),
            (spelling.expand, inner, d, true),
            (spelling.contract, d, inner, true),
        ];
        let layers = (0..self.layers).flat_map(move |layer| {
            let at = format!("{}.{layer}", spelling.layer);
            let norms = ["layernorm_before", "layernorm_after"];
            let norms = norms.map(|name| ["weight", "bias"].map(|part| (format!("{at}.{name}.{part}"), vec![d])));
            let dense = linear.into_iter().flat_map(move |(name, out, into, bias)| {
                let weight = (format!("{at}.{name}.weight"), vec![out, into]);
                std::iter::once(weight).chain(bias.then(|| (format!("{at}.{name}.bias"), vec![out])))
            });
            norms.into_iter().flatten().chain(dense)
        });
        fixed.into_iter().chain(layers)
    }
}
