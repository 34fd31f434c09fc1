//! Series to what may follow them: a Chronos-T5 and its directory.
//!
//! Decides the order of checks at load: sizes first, then memory, then work. Promises that `load` allocates nothing
//! before the computed need was compared with the limit, starts no thread and computes no forward pass. Must not know
//! about Python.

use candle_core::{DType, Device};
use candle_nn::VarBuilder;

use crate::directory::{Directory, WEIGHTS};
use crate::error::{Error, Result};
use crate::mapping::MappedFile;
use crate::models::chronos::Chronos;
use crate::models::chronos_config::ChronosConfig;
use crate::models::linears::{packed_bytes, weight_bytes};
use crate::models::t5::T5;
use crate::models::t5_config::T5Config;
use crate::spec::{Spec, Task};
use crate::weights::Weights;

/// A loaded forecaster.
pub struct Forecaster {
    spec: Spec,
    // Before `_file`: its tables live there, and fields are dropped in order.
    model: Chronos,
    _file: MappedFile,
}

impl Forecaster {
    /// Loads a directory whose config.json has the bytes `config`.
    ///
    /// # Errors
    /// As [`crate::model::Model::load`].
    pub fn load(directory: &Directory<'_>, config: &[u8]) -> Result<Self> {
        let t5 = T5Config::parse(config)?;
        let chronos = ChronosConfig::parse(config, t5.vocab)?;
        let file = directory.weights()?;
        let packed = packed_bytes(t5.matrices());
        let packed = packed.ok_or_else(|| Error::BadWeights("config.json: the sizes overflow".to_owned()))?;
        let reading = directory.need_of_reading(&file, 0)?;
        directory.afford(reading)?;
        let weights = Weights::open(&file, WEIGHTS)?;
        let checked = weights.check_all(t5.tensors(weights.contains("lm_head.weight")))?;
        let largest = t5.matrices().map(|(k, n)| (k as u64).saturating_mul(n as u64).saturating_mul(4)).max();
        // The parts of a joint matrix, and the matrix; and the bins.
        let preparing = largest.unwrap_or(0).saturating_mul(2).saturating_add(chronos.tokens as u64 * 16);
        directory.afford(packed.saturating_add(checked.converted).saturating_add(preparing).saturating_add(reading))?;
        let vb = VarBuilder::from_backend(Box::new(weights), DType::F32, Device::Cpu);
        let weight_bytes = weight_bytes(t5.matrices(), packed, checked.parameters);
        let spec = Spec {
            layers: Some(t5.layers + t5.decoder_layers),
            hidden: Some(t5.hidden),
            heads: Some(t5.shape.heads),
            head_width: Some(t5.shape.width),
            intermediate: Some(t5.intermediate),
            vocab: Some(t5.vocab),
            max_tokens: Some(chronos.context + usize::from(chronos.use_eos)),
            ..Spec::new(Task::Forecast, "chronos-t5", checked.parameters, weight_bytes)
        };
        let model = Chronos::new(chronos, T5::load(&vb, &t5)?);
        drop(vb);
        Ok(Self { spec, model, _file: file })
    }

    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    #[must_use]
    pub fn model(&self) -> &Chronos {
        &self.model
    }
}
