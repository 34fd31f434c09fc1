//! ResNet (He et al., 2015), as a classifier of images.
//!
//! Decides that an image is rows of pixels with the channels innermost, so that a convolution by one pixel is a plain
//! matrix product and any other one a product with gathered patches, a block of rows at a time. Batch normalisation is
//! folded into the kernels at load. Four buffers of the largest size that occurs serve all layers, whatever the number of
//! images. The size of images is fixed when the model is loaded. Must not know about files, pictures or Python.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use super::linears::{Linears, packed_bytes};
use super::resnet_config::{Conv, POOL, ResNetConfig};
use crate::cancel::checkpoint;
use crate::error::{Error, Result};
use crate::inplace::{combine, write};
use crate::kernels::convolution::{Size, Window, gather, max_pool};
use crate::kernels::matmul::{Finish, Packed, Rows, matmul};
use crate::kernels::norm::mean_of_rows;
use crate::kernels::residual::add_and_rectify;
use crate::tensor::{Linear, with_floats};

/// Rows of patches that exist at a time.
const BLOCK_ROWS: usize = 96;
/// What transformers adds to the variance in every batch normalisation.
const EPS: f64 = 1e-5;

struct Layer {
    linear: Linear,
    window: Window,
}

struct Block {
    layers: Vec<Layer>,
    shortcut: Option<Layer>,
}

/// A loaded classifier.
pub struct ResNet {
    config: ResNetConfig,
    /// Height and width of the images.
    image: (usize, usize),
    /// Floats of the largest activations, and of a block of the largest patches.
    largest: (usize, usize),
    stem: Layer,
    blocks: Vec<Block>,
    classifier: Linear,
}

/// Buffers that all layers share, each as long as the largest activations.
struct Workspace {
    /// What a block gets, and what comes out of it.
    hidden: Tensor,
    /// Inside a block.
    middle: [Tensor; 2],
    shortcut: Tensor,
    patches: Tensor,
}

/// The kernel with its batch normalisation folded in, packed; its taps in the order height, width, channels.
fn load_conv(vb: &VarBuilder<'_>, conv: &Conv, finish: Finish, linears: &mut Linears) -> Result<Layer> {
    let vb = vb.pp(&conv.name);
    let kernel = conv.window.kernel;
    let weight = vb.get((conv.to, conv.from, kernel, kernel), "convolution.weight")?;
    let norm = |part: &str| vb.pp("normalization").get(conv.to, part);
    let scale = (norm("weight")? / (norm("running_var")? + EPS)?.sqrt()?)?;
    let bias = (norm("bias")? - (norm("running_mean")? * &scale)?)?;
    let weight = weight.broadcast_mul(&scale.reshape((conv.to, 1, 1, 1))?)?.permute((0, 2, 3, 1))?.contiguous()?;
    Ok(Layer { linear: linears.linear(&[(&weight, 1.0)], bias, finish)?, window: conv.window })
}

/// The largest activations and the largest block of patches, in floats; nothing if an image is too small or too large.
fn largest(config: &ResNetConfig, (height, width): (usize, usize)) -> Option<(usize, usize)> {
    let (mut floats, mut patches) = (0, 0);
    let mut after = |size: Size, conv: &Conv| -> Option<Size> {
        let output = conv.window.output(size, conv.to)?;
        floats = output.len()?.max(floats);
        let row = conv.window.kernel.pow(2).checked_mul(conv.from)?;
        patches = row.checked_mul(output.pixels()?.min(BLOCK_ROWS))?.max(patches);
        Some(output)
    };
    let stem = after(Size { height, width, channels: 3 }, &config.stem)?;
    let mut size = POOL.output(stem, stem.channels)?;
    for block in &config.blocks {
        if let Some(shortcut) = &block.shortcut {
            after(size, shortcut)?;
        }
        for conv in &block.convs {
            size = after(size, conv)?;
        }
    }
    let image = height.checked_mul(width)?.checked_mul(3)?;
    Some((floats.max(image), patches))
}

impl ResNet {
    /// Builds the classifier for images of one height and width. No thread, no forward pass.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape, or `BadWeights` if the network leaves nothing of such an image.
    pub fn load(vb: &VarBuilder<'_>, config: &ResNetConfig, image: (usize, usize)) -> Result<Self> {
        let sizes = largest(config, image).ok_or_else(|| {
            Error::BadWeights(format!("config.json: images of {} x {} can't pass this network", image.0, image.1))
        })?;
        let mut linears = Linears::new(packed_bytes(config.matrices()))?;
        let stem = load_conv(vb, &config.stem, Finish::Relu, &mut linears)?;
        let mut blocks = Vec::with_capacity(config.blocks.len());
        for block in &config.blocks {
            checkpoint()?;
            let last = block.convs.len() - 1;
            let finish = |at: usize| if at == last { Finish::Nothing } else { Finish::Relu };
            let layers = block.convs.iter().enumerate();
            let layers =
                layers.map(|(at, conv)| load_conv(vb, conv, finish(at), &mut linears)).collect::<Result<_>>()?;
            let shortcut = block.shortcut.as_ref();
            let shortcut = shortcut.map(|conv| load_conv(vb, conv, Finish::Nothing, &mut linears)).transpose()?;
            blocks.push(Block { layers, shortcut });
        }
        let (head, classes) = (vb.pp("classifier.1"), config.labels.len());
        let weight = head.get((classes, config.hidden), "weight")?;
        let classifier = linears.linear(&[(&weight, 1.0)], head.get(classes, "bias")?, Finish::Nothing)?;
        Ok(Self { config: config.clone(), image, largest: sizes, stem, blocks, classifier })
    }

    #[must_use]
    pub fn config(&self) -> &ResNetConfig {
        &self.config
    }

    /// One row of logits per image into `out`. `pixels` holds whole images: channels, lines, columns.
    ///
    /// # Errors
    /// `BadShape` if that is no whole number of images; `Cancelled` at a checkpoint.
    pub fn classify(&self, pixels: &[f32], out: &mut [f32]) -> Result<()> {
        let len = 3 * self.image.0 * self.image.1;
        let classes = self.config.labels.len();
        if pixels.is_empty() || !pixels.len().is_multiple_of(len) || out.len() != pixels.len() / len * classes {
            return Err(Error::BadShape(format!("{} values are no whole number of images of {len}", pixels.len())));
        }
        let zeros = |len: usize| Tensor::zeros(len, DType::F32, &Device::Cpu);
        let floats = self.largest.0;
        let workspace = Workspace {
            hidden: zeros(floats)?,
            middle: [zeros(floats)?, zeros(floats)?],
            shortcut: zeros(floats)?,
            patches: zeros(self.largest.1)?,
        };
        for (image, logits) in pixels.chunks_exact(len).zip(out.chunks_exact_mut(classes)) {
            self.pass(image, &workspace, logits)?;
        }
        Ok(())
    }

    fn pass(&self, image: &[f32], buffers: &Workspace, logits: &mut [f32]) -> Result<()> {
        let size = Size { height: self.image.0, width: self.image.1, channels: 3 };
        write(&part(&buffers.shortcut, size)?, |to| {
            channels_last(image, to);
            Ok(())
        })?;
        let stem = self.stem.run(&buffers.shortcut, size, &buffers.middle[0], &buffers.patches)?;
        let mut size = pooled(stem)?;
        combine(&part(&buffers.hidden, size)?, &part(&buffers.middle[0], stem)?, |to, from| {
            max_pool(from, stem, POOL, to);
            Ok(())
        })?;
        for block in &self.blocks {
            checkpoint()?;
            size = block.run(size, buffers)?;
        }
        let mean = Tensor::zeros((1, size.channels), DType::F32, &Device::Cpu)?;
        combine(&mean, &part(&buffers.hidden, size)?, |to, from| {
            mean_of_rows(from, to);
            Ok(())
        })?;
        let result = Tensor::zeros((1, logits.len()), DType::F32, &Device::Cpu)?;
        result.inplace_op2(&mean, &self.classifier)?;
        with_floats(&result, |values| {
            logits.copy_from_slice(values);
            Ok(())
        })?;
        Ok(())
    }

    /// An upper bound of the bytes that `classify` allocates, whatever the number of images.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        let (floats, patches) = self.largest;
        let floats = floats.saturating_mul(4).saturating_add(patches);
        let ends = self.config.hidden + self.config.labels.len();
        // Tensors' own small structures, a few hundred bytes each and alive a handful at a time.
        (floats.saturating_add(ends) as u64).saturating_mul(4).saturating_add(64 << 10)
    }

    /// Floating-point operations of the matrix products for one image, a multiply-add counted as two.
    #[must_use]
    pub fn flops(&self) -> u64 {
        let mut sum = 2 * (self.config.hidden * self.config.labels.len()) as u64;
        let mut count = |layer: &Layer, size: Size| {
            let output = layer.output(size).unwrap_or(size);
            let pixels = output.pixels().unwrap_or(usize::MAX) as u64;
            sum = sum.saturating_add(pixels.saturating_mul(2 * (layer.linear.k * layer.linear.n) as u64));
            output
        };
        let image = Size { height: self.image.0, width: self.image.1, channels: 3 };
        let stem = count(&self.stem, image);
        let mut size = pooled(stem).unwrap_or(stem);
        for block in &self.blocks {
            if let Some(shortcut) = &block.shortcut {
                count(shortcut, size);
            }
            size = block.layers.iter().fold(size, |size, layer| count(layer, size));
        }
        sum
    }
}

fn pooled(size: Size) -> Result<Size> {
    POOL.output(size, size.channels).ok_or_else(|| Error::Internal("nothing is left to pool".to_owned()))
}

/// As much of a buffer as activations of this size take.
fn part(buffer: &Tensor, size: Size) -> Result<Tensor> {
    Ok(buffer.narrow(0, 0, size.len().unwrap_or(usize::MAX))?)
}

/// (channels, height, width) to (height, width, channels), for three channels.
fn channels_last(image: &[f32], to: &mut [f32]) {
    let plane = image.len() / 3;
    for (at, pixel) in to.chunks_exact_mut(3).enumerate() {
        for (channel, value) in pixel.iter_mut().enumerate() {
            *value = image[channel * plane + at];
        }
    }
}

impl Layer {
    fn output(&self, size: Size) -> Option<Size> {
        self.window.output(size, self.linear.n)
    }

    /// `to = finish(convolution of from)`. Returns the size of the result.
    fn run(&self, from: &Tensor, size: Size, to: &Tensor, patches: &Tensor) -> Result<Size> {
        let output = self.output(size).ok_or_else(|| Error::Internal("an image became too small".to_owned()))?;
        let (from, to) = (part(from, size)?, part(to, output)?);
        if self.window.kernel == 1 && self.window.stride == 1 {
            to.inplace_op2(&from, &self.linear)?;
            return Ok(output);
        }
        let (k, n) = (self.linear.k, self.linear.n);
        let pixels = output.height * output.width;
        for first in (0..pixels).step_by(BLOCK_ROWS) {
            let rows = BLOCK_ROWS.min(pixels - first);
            let block = patches.narrow(0, 0, rows * k)?;
            combine(&block, &from, |block, from| {
                gather(from, size, self.window, first, block);
                Ok(())
            })?;
            combine(&to.narrow(0, first * n, rows * n)?, &block, |to, block| {
                with_floats(&self.linear.packed, |data| {
                    with_floats(&self.linear.bias, |bias| {
                        let rows_of = Rows { data: block, stride: k };
                        matmul(rows_of, rows, Packed { data, k, n, bias }, self.linear.finish, to, n);
                        Ok(())
                    })
                })
            })?;
        }
        Ok(output)
    }
}

impl Block {
    /// `hidden = relu(layers(hidden) + shortcut(hidden))`. Returns the size of the result.
    fn run(&self, size: Size, buffers: &Workspace) -> Result<Size> {
        let (mut from, mut at) = (&buffers.hidden, size);
        for (layer, to) in self.layers.iter().zip(buffers.middle.iter().cycle()) {
            at = layer.run(from, at, to, &buffers.patches)?;
            from = to;
        }
        if let Some(shortcut) = &self.shortcut {
            shortcut.run(&buffers.hidden, size, &buffers.shortcut, &buffers.patches)?;
            combine(&part(&buffers.hidden, at)?, &part(&buffers.shortcut, at)?, |to, from| {
                to.copy_from_slice(from);
                Ok(())
            })?;
        }
        combine(&part(&buffers.hidden, at)?, &part(from, at)?, |to, from| {
            add_and_rectify(to, from);
            Ok(())
        })?;
        Ok(at)
    }
}
