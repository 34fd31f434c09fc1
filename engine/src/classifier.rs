//! Pictures to logits: a network and what is done to a picture before it.
//!
//! Decides the order of checks: sizes first, then memory, then work. Promises that `load` allocates nothing before the
//! computed need was compared with the limit, starts no thread and computes no forward pass, and that pictures go
//! through one after another, so that the memory of a call does not grow with their number. Must not know about Python.

use candle_core::{DType, Device};
use candle_nn::VarBuilder;

use crate::cancel::checkpoint;
use crate::directory::{Directory, LONGEST_CONFIG, WEIGHTS};
use crate::error::{Error, Result, all_finite, not_finite};
use crate::mapping::MappedFile;
use crate::models::linears::{packed_bytes, weight_bytes};
use crate::models::resnet::ResNet;
use crate::models::resnet_config::ResNetConfig;
use crate::models::vit::Vit;
use crate::models::vit_config::VitConfig;
use crate::picture::{self, Picture};
use crate::processing::Processing;
use crate::spec::{Spec, Task};
use crate::weights::{Checked, Weights};

const PROCESSING: &str = "preprocessor_config.json";
/// What a `ResNet` sees when nothing is said: published ones were trained on this.
const RESNET_SIDE: usize = 224;

/// The architectures.
enum Network {
    Vit(Box<Vit>),
    ResNet(Box<ResNet>),
}

/// What config.json says, before the weights are read.
enum Config {
    Vit(VitConfig),
    ResNet(ResNetConfig),
}

/// A loaded classifier of pictures.
pub struct Classifier {
    spec: Spec,
    labels: Vec<String>,
    processing: Processing,
    // Before `_file`: its tables live there, and fields are dropped in order.
    network: Network,
    _file: MappedFile,
}

impl Config {
    fn parse(bytes: &[u8], model_type: &str) -> Result<Self> {
        match model_type {
            "vit" => VitConfig::parse(bytes).map(Self::Vit),
            _ => ResNetConfig::parse(bytes).map(Self::ResNet),
        }
    }

    fn packed_bytes(&self) -> Option<u64> {
        match self {
            Self::Vit(config) => packed_bytes(config.matrices()),
            Self::ResNet(config) => packed_bytes(config.matrices()),
        }
    }

    fn weight_bytes(&self, packed: u64, parameters: u64) -> u64 {
        match self {
            Self::Vit(config) => weight_bytes(config.matrices(), packed, parameters),
            Self::ResNet(config) => weight_bytes(config.matrices(), packed, parameters),
        }
    }

    /// The tensors checked; and the bytes that preparing the largest matrix for packing takes.
    fn check(&self, weights: &Weights<'_>) -> Result<(Checked, u64)> {
        let largest = |(k, n): (usize, usize)| (k as u64).saturating_mul(n as u64).saturating_mul(4);
        Ok(match self {
            Self::Vit(config) => {
                let spelling = Vit::spelling(|name| weights.contains(name));
                // The parts of a joint matrix, and the matrix.
                let preparing = config.matrices().map(largest).max().unwrap_or(0).saturating_mul(2);
                (weights.check_all(config.tensors(spelling))?, preparing)
            }
            Self::ResNet(config) => {
                // A kernel as read, scaled, its taps reordered, and joined.
                let preparing = config.matrices().map(largest).max().unwrap_or(0).saturating_mul(4);
                (weights.check_all(config.tensors())?, preparing)
            }
        })
    }

    fn labels(&self) -> &[String] {
        match self {
            Self::Vit(config) => &config.labels,
            Self::ResNet(config) => &config.labels,
        }
    }

    /// What is done to pictures if the directory doesn't say.
    fn plain(&self) -> Processing {
        let side = match self {
            Self::Vit(config) => config.image,
            Self::ResNet(_) => RESNET_SIDE,
        };
        Processing::plain((side, side))
    }
}

/// How pictures are prepared for the network.
fn processing(directory: &Directory<'_>, config: &Config) -> Result<Processing> {
    let plain = config.plain();
    if !directory.contains(PROCESSING) {
        return Ok(plain);
    }
    let said = Processing::parse(&directory.read(PROCESSING, LONGEST_CONFIG)?, &plain)?;
    match config {
        Config::Vit(_) if said.size != plain.size => {
            let (said, own) = (said.size, plain.size);
            Err(Error::BadWeights(format!("{PROCESSING}: makes pictures {said:?}; config.json has image_size {own:?}")))
        }
        _ => Ok(said),
    }
}

impl Classifier {
    /// Loads a directory whose config.json has the bytes `config` and the `model_type` "vit" or "resnet".
    ///
    /// # Errors
    /// As [`crate::model::Model::load`].
    pub fn load(directory: &Directory<'_>, config: &[u8], model_type: &str) -> Result<Self> {
        let config = Config::parse(config, model_type)?;
        let processing = processing(directory, &config)?;
        let file = directory.weights()?;
        let packed = config.packed_bytes();
        let packed = packed.ok_or_else(|| Error::BadWeights("config.json: the sizes overflow".to_owned()))?;
        let reading = directory.need_of_reading(&file, 0)?;
        directory.afford(reading)?;
        let weights = Weights::open(&file, WEIGHTS)?;
        let (checked, preparing) = config.check(&weights)?;
        let need = packed.saturating_add(checked.converted).saturating_add(preparing).saturating_add(reading);
        directory.afford(need)?;
        let vb = VarBuilder::from_backend(Box::new(weights), DType::F32, Device::Cpu);
        let labels = config.labels().to_vec();
        let weight_bytes = config.weight_bytes(packed, checked.parameters);
        let (network, spec) = match config {
            Config::Vit(config) => {
                let spec = Spec {
                    layers: Some(config.layers),
                    hidden: Some(config.hidden),
                    heads: Some(config.heads),
                    intermediate: Some(config.intermediate),
                    dimensions: Some(labels.len()),
                    ..Spec::new(Task::Classify, "vit", checked.parameters, weight_bytes)
                };
                (Network::Vit(Box::new(Vit::load(&vb, &config)?)), spec)
            }
            Config::ResNet(config) => {
                let spec = Spec {
                    layers: Some(config.convs().count()),
                    hidden: Some(config.hidden),
                    dimensions: Some(labels.len()),
                    ..Spec::new(Task::Classify, "resnet", checked.parameters, weight_bytes)
                };
                (Network::ResNet(Box::new(ResNet::load(&vb, &config, processing.size)?)), spec)
            }
        };
        drop(vb);
        Ok(Self { spec, labels, processing, network, _file: file })
    }

    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The names of the classes, in the order of the logits.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Height and width of what the network sees.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        self.processing.size
    }

    /// Values of one prepared picture.
    fn values(&self) -> usize {
        3 * self.processing.size.0 * self.processing.size.1
    }

    /// One row of logits per picture file. Every picture has at most `most_pixels` pixels.
    ///
    /// # Errors
    /// `BadShape` naming the picture that is damaged or too large; `Cancelled`.
    pub fn classify_pictures(&self, files: &[&[u8]], most_pixels: u64) -> Result<Vec<f32>> {
        if files.is_empty() {
            return Err(Error::BadShape("there are no pictures; at least one is needed".to_owned()));
        }
        let classes = self.labels.len();
        let mut logits = vec![0.0; files.len() * classes];
        let mut values = vec![0.0; self.values()];
        for (index, (file, to)) in files.iter().zip(logits.chunks_exact_mut(classes)).enumerate() {
            checkpoint()?;
            let picture = Picture::decode(file, most_pixels).map_err(|error| match error {
                Error::BadShape(what) => Error::BadShape(format!("input {index}: {what}")),
                other => other,
            })?;
            self.processing.apply(&picture, &mut values)?;
            drop(picture);
            self.run(&values, to)?;
        }
        Ok(logits)
    }

    /// One row of logits per prepared picture: channels, lines, columns.
    ///
    /// # Errors
    /// `BadShape` if the values are no whole number of pictures, or not finite; `Cancelled`.
    pub fn classify_pixels(&self, values: &[f32]) -> Result<Vec<f32>> {
        let len = self.values();
        if values.is_empty() || !values.len().is_multiple_of(len) {
            let (height, width) = self.processing.size;
            let message = format!("{} values are no whole number of pictures of 3 x {height} x {width}", values.len());
            return Err(Error::BadShape(message));
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::BadShape(format!("the value at {at} is not finite")));
        }
        let mut logits = vec![0.0; values.len() / len * self.labels.len()];
        self.run(values, &mut logits)?;
        Ok(logits)
    }

    fn run(&self, values: &[f32], logits: &mut [f32]) -> Result<()> {
        match &self.network {
            Network::Vit(model) => model.classify(values, logits)?,
            Network::ResNet(model) => model.classify(values, logits)?,
        }
        if all_finite(logits) { Ok(()) } else { Err(not_finite()) }
    }

    /// An upper bound of the bytes that `classify_pixels` takes for `count` pictures, the values handed in not among
    /// them.
    #[must_use]
    pub fn peak_bytes(&self, count: usize) -> u64 {
        let network = match &self.network {
            Network::Vit(model) => model.peak_bytes(),
            Network::ResNet(model) => model.peak_bytes(),
        };
        network.saturating_add((self.labels.len() as u64).saturating_mul(4).saturating_mul(count as u64))
    }

    /// The same for `classify_pictures`, for files of at most `file` bytes and pictures of this height and width.
    #[must_use]
    pub fn picture_peak_bytes(&self, count: usize, file: u64, (height, width): (usize, usize)) -> u64 {
        let pixels = (height as u64).saturating_mul(width as u64);
        let preparing = self.processing.peak_bytes(height, width);
        let opening = picture::peak_bytes(pixels, file).saturating_add(preparing);
        opening.saturating_add(self.peak_bytes(count)).saturating_add(self.values() as u64 * 4)
    }

    /// Floating-point operations of the matrix products for one picture.
    #[must_use]
    pub fn flops(&self) -> u64 {
        match &self.network {
            Network::Vit(model) => model.flops(),
            Network::ResNet(model) => model.flops(),
        }
    }
}
