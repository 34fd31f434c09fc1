//! Tensors of a safetensors file, checked against what is expected and then left where they are.
//!
//! Decides, per tensor, whether it can live in the mapped file (f32, aligned) or has to be converted (f16, bf16, or
//! at an odd offset). Promises that nothing is allocated from a number in the file before that number was compared
//! with the file's size, and that a complaint names file, tensor and field. Serves as candle-nn's `VarBuilder` backend,
//! so that a model asks for its weights as candle models do. Must not know what a tensor is used for.
//!
//! Why not copy into huge pages, as the packed matrices are: a forward pass touches a few rows of the word table, and
//! in the file these cost neither memory at load, nor RLIMIT_DATA, nor page tables at a fork.

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};

use crate::error::{Error, Result};
use crate::mapping::MappedFile;

/// The longest header that is parsed. Real ones are below 1 MiB.
const LONGEST_HEADER: u64 = 16 << 20;

/// What comparing all tensors with the configuration found.
#[derive(Clone, Copy, Debug)]
pub struct Checked {
    pub parameters: u64,
    /// Bytes that those take which can't be used in place.
    pub converted: u64,
}

/// The tensors of one mapped file.
pub struct Weights<'a> {
    file: &'a MappedFile,
    name: &'a str,
    metadata: Metadata,
    data_start: usize,
    /// What stands before the expected names in this file, e.g. "" or "bert.".
    prefix: &'static str,
}

impl<'a> Weights<'a> {
    /// Reads the header. `name` is how messages call the file.
    ///
    /// # Errors
    /// `BadWeights` if the header is not sound or does not describe exactly the bytes that follow.
    pub fn open(file: &'a MappedFile, name: &'a str) -> Result<Self> {
        let bad = |what: String| Error::BadWeights(format!("{name}: {what}"));
        let bytes = file.bytes();
        let declared = bytes.first_chunk::<8>().map(|raw| u64::from_le_bytes(*raw));
        let declared = declared.ok_or_else(|| bad(format!("{} bytes are no safetensors file", bytes.len())))?;
        if declared > LONGEST_HEADER {
            return Err(bad(format!("header says it has {declared} bytes; at most {LONGEST_HEADER} are read")));
        }
        let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| bad(format!("header: {e}")))?;
        Ok(Self { file, name, metadata, data_start: header + 8, prefix: "" })
    }

    /// The same tensors by their names beneath `prefix`, if any has such a name: some files are of the bare model,
    /// others of the model with something around it.
    #[must_use]
    pub fn beneath(mut self, prefix: &'static str) -> Self {
        if self.metadata.offset_keys().iter().any(|name| name.starts_with(prefix)) {
            self.prefix = prefix;
        }
        self
    }

    fn info(&self, tensor: &str) -> Result<&TensorInfo> {
        let name = format!("{}{tensor}", self.prefix);
        self.metadata.info(&name).ok_or_else(|| Error::BadWeights(format!("{}: tensor {name} is missing", self.name)))
    }

    /// Compares a tensor's header with what is expected and returns the bytes that reading it will allocate.
    ///
    /// # Errors
    /// `BadWeights` for another shape, `Unsupported` for a type other than f32, f16 and bf16.
    pub fn check(&self, tensor: &str, shape: &[usize]) -> Result<u64> {
        let info = self.info(tensor)?;
        if info.shape != shape {
            let message = format!("{}: {tensor} has shape {:?}; config.json makes it {shape:?}", self.name, info.shape);
            return Err(Error::BadWeights(message));
        }
        match info.dtype {
            Dtype::F32 if self.is_in_place(info) => Ok(0),
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => Ok(shape.iter().map(|n| *n as u64).product::<u64>() * 4),
            other => {
                Err(Error::Unsupported(format!("{}: {tensor} is {other:?}; F32, F16 and BF16 are read", self.name)))
            }
        }
    }

    /// [`Self::check`] of every tensor of a list.
    ///
    /// # Errors
    /// See there.
    pub fn check_all(&self, tensors: impl IntoIterator<Item = (String, Vec<usize>)>) -> Result<Checked> {
        let mut all = Checked { parameters: 0, converted: 0 };
        for (name, shape) in tensors {
            all.converted = all.converted.saturating_add(self.check(&name, &shape)?);
            all.parameters += shape.iter().map(|n| *n as u64).product::<u64>();
        }
        Ok(all)
    }

    /// Whether there is a tensor of this name.
    #[must_use]
    pub fn contains(&self, tensor: &str) -> bool {
        self.info(tensor).is_ok()
    }

    fn is_in_place(&self, info: &TensorInfo) -> bool {
        (self.file.bytes().as_ptr().addr() + self.data_start + info.data_offsets.0).is_multiple_of(align_of::<f32>())
    }

    /// The tensor's values: in the file if they can be used there, else converted.
    fn floats(&self, tensor: &str) -> Result<Vec<f32>> {
        let info = self.info(tensor)?;
        let (start, end) = (self.data_start + info.data_offsets.0, self.data_start + info.data_offsets.1);
        if info.dtype == Dtype::F32 {
            // SAFETY: a model drops its tensors before the file, and no engine op writes to a weight.
            if let Some(floats) = unsafe { self.file.floats(start, end) } {
                return Ok(floats);
            }
        }
        let outside = || Error::BadWeights(format!("{}: {tensor} lies outside the file", self.name));
        let bytes = self.file.bytes().get(start..end).ok_or_else(outside)?;
        let pairs = || bytes.as_chunks::<2>().0.iter();
        Ok(match info.dtype {
            Dtype::F16 => pairs().map(|pair| f16::from_le_bytes(*pair).to_f32()).collect(),
            Dtype::BF16 => pairs().map(|pair| bf16::from_le_bytes(*pair).to_f32()).collect(),
            _ => bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect(),
        })
    }
}

impl SimpleBackend for Weights<'_> {
    fn get(&self, s: Shape, name: &str, _: candle_nn::Init, _: DType, dev: &Device) -> candle_core::Result<Tensor> {
        self.check(name, s.dims()).map_err(candle_core::Error::wrap)?;
        Tensor::from_vec(self.floats(name).map_err(candle_core::Error::wrap)?, s, dev)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, dev: &Device) -> candle_core::Result<Tensor> {
        let shape = Shape::from(self.info(name).map_err(candle_core::Error::wrap)?.shape.as_slice());
        self.get(shape, name, candle_nn::Init::Const(0.0), dtype, dev)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.info(name).is_ok()
    }
}
