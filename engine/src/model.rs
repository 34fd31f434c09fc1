//! Which model a directory holds, and the model itself, whatever its task.
//!
//! Decides by `model_type` in config.json which architecture reads the directory. Promises that an architecture which
//! this engine does not have is refused by name before any other file is opened. A new architecture is one arm here.
//! Must not know about Python.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use crate::classifier::Classifier;
use crate::directory::{Directory, LONGEST_CONFIG};
use crate::embedder::Embedder;
use crate::error::{Error, Result};
use crate::forecaster::Forecaster;
use crate::generator::Generator;
use crate::spec::Spec;

/// A loaded model.
pub enum Model {
    Embed(Box<Embedder>),
    Generate(Arc<Generator>),
    Classify(Box<Classifier>),
    Forecast(Box<Forecaster>),
}

#[derive(Deserialize)]
struct Named {
    model_type: Option<String>,
}

impl Model {
    /// Loads the directory at `path`.
    ///
    /// # Errors
    /// `OutOfMemory` naming the need if it is more than `memory_limit` bytes, `BadWeights` or `Unsupported` naming
    /// the file and the field.
    pub fn load(path: &Path, memory_limit: Option<u64>) -> Result<Self> {
        let directory = Directory::new(path, memory_limit);
        let config = directory.read("config.json", LONGEST_CONFIG)?;
        let bad = |error: serde_json::Error| Error::BadWeights(format!("config.json: {error}"));
        let named: Named = serde_json::from_slice(&config).map_err(bad)?;
        match named.model_type.as_deref() {
            Some("bert") => Embedder::load(&directory, &config).map(Box::new).map(Self::Embed),
            Some("llama") => Generator::load(&directory, &config, "llama").map(Arc::new).map(Self::Generate),
            Some("qwen2") => Generator::load(&directory, &config, "qwen2").map(Arc::new).map(Self::Generate),
            Some(kind @ ("vit" | "resnet")) => {
                Classifier::load(&directory, &config, kind).map(Box::new).map(Self::Classify)
            }
            Some("t5") => Forecaster::load(&directory, &config).map(Box::new).map(Self::Forecast),
            other => {
                let seen = other.unwrap_or("missing");
                Err(Error::Unsupported(format!(
                    "config.json: model_type is {seen}; this engine does \"bert\", \"llama\", \"qwen2\", \"vit\", \
                     \"resnet\" and \"t5\""
                )))
            }
        }
    }

    #[must_use]
    pub fn spec(&self) -> &Spec {
        match self {
            Self::Embed(model) => model.spec(),
            Self::Classify(model) => model.spec(),
            Self::Forecast(model) => model.spec(),
            Self::Generate(model) => model.spec(),
        }
    }
}
