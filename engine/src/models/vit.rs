//! ViT (Dosovitskiy et al., 2020), as a classifier of images.
//!
//! Decides that images go through the layers one after another: one image is rows enough for the matrix kernels, and
//! the memory of a call does not grow with their number. An image has the size that the model was trained for, which
//! the caller has checked; so attention has a fixed length. The workspace is allocated once per call. Must not know
//! about files, pictures or Python.

use std::cell::RefCell;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use super::linears::{Linears, packed_bytes};
use super::vit_config::{NEW, OLD, Spelling, VitConfig};
use crate::cancel::checkpoint;
use crate::error::{Error, Result};
use crate::inplace::{combine, write};
use crate::kernels::attention::{Heads, scratch_len};
use crate::kernels::matmul::Finish;
use crate::kernels::norm::normalize_row;
use crate::kernels::residual::add;
use crate::tensor::{AddNorm, Attention, Linear, with_floats};

/// Rows of the feed-forward part, and patches that are cut out, at a time.
const BLOCK_ROWS: usize = 96;

struct Layer {
    before: AddNorm,
    qkv: Linear,
    projection: Linear,
    after: AddNorm,
    expand: Linear,
    contract: Linear,
}

/// A loaded classifier.
pub struct Vit {
    config: VitConfig,
    class: Tensor,
    positions: Tensor,
    patches: Linear,
    layers: Vec<Layer>,
    norm: AddNorm,
    classifier: Linear,
}

/// Buffers that all layers share.
struct Workspace {
    hidden: Tensor,
    normed: Tensor,
    qkv: Tensor,
    context: Tensor,
    inner: Tensor,
    patches: Tensor,
    scratch: RefCell<Vec<f32>>,
}

fn norm(vb: &VarBuilder<'_>, width: usize, eps: f32) -> Result<AddNorm> {
    Ok(AddNorm { weight: vb.get(width, "weight")?, bias: vb.get(width, "bias")?, eps })
}

fn load_layer(vb: &VarBuilder<'_>, config: &VitConfig, names: &Spelling, linears: &mut Linears) -> Result<Layer> {
    let (d, inner) = (config.hidden, config.intermediate);
    #[allow(clippy::cast_precision_loss)] // the width of a head is at most 2^20
    let scale = 1.0 / ((d / config.heads) as f32).sqrt();
    let weight = |name: &str, out: usize, into: usize| vb.pp(name).get((out, into), "weight");
    let (query, key, value) = (weight(names.query, d, d)?, weight(names.key, d, d)?, weight(names.value, d, d)?);
    let qkv_bias = if config.qkv_bias {
        let bias = |name: &str| vb.pp(name).get(d, "bias");
        // The scale of the scores is put into the query once, instead of into every score.
        let query_bias = (bias(names.query)? * f64::from(scale))?;
        Tensor::cat(&[&query_bias, &bias(names.key)?, &bias(names.value)?], 0)?
    } else {
        Linears::no_bias()?
    };
    let mut dense = |name: &str, out: usize, into: usize, finish: Finish| -> Result<Linear> {
        linears.linear(&[(&weight(name, out, into)?, 1.0)], vb.pp(name).get(out, "bias")?, finish)
    };
    let projection = dense(names.projection, d, d, Finish::Nothing)?;
    let expand = dense(names.expand, inner, d, Finish::Gelu)?;
    let contract = dense(names.contract, d, inner, Finish::Nothing)?;
    Ok(Layer {
        before: norm(&vb.pp("layernorm_before"), d, config.eps)?,
        qkv: linears.linear(&[(&query, scale), (&key, 1.0), (&value, 1.0)], qkv_bias, Finish::Nothing)?,
        projection,
        after: norm(&vb.pp("layernorm_after"), d, config.eps)?,
        expand,
        contract,
    })
}

/// `to = norm(from)`, row by row.
fn normalize(to: &Tensor, from: &Tensor, norm: &AddNorm) -> Result<()> {
    combine(to, from, |to, from| {
        to.copy_from_slice(from);
        norm.with(|norm| {
            for row in to.chunks_exact_mut(norm.weight.len()) {
                normalize_row::<crate::kernels::lanes::Wide>(row, norm);
            }
        })
    })?;
    Ok(())
}

fn add_to(to: &Tensor, delta: &Tensor) -> Result<()> {
    combine(to, delta, |to, delta| {
        add(to, delta);
        Ok(())
    })?;
    Ok(())
}

impl Vit {
    /// The spelling of the weights at hand.
    #[must_use]
    pub fn spelling(has: impl Fn(&str) -> bool) -> &'static Spelling {
        if has("vit.encoder.layer.0.layernorm_before.weight") { &OLD } else { &NEW }
    }

    /// Builds the classifier: packs the matrices. No thread, no forward pass.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn load(vb: &VarBuilder<'_>, config: &VitConfig) -> Result<Self> {
        let d = config.hidden;
        let names = Self::spelling(|name| vb.contains_tensor(name));
        let mut linears = Linears::new(packed_bytes(config.matrices()))?;
        let embeddings = vb.pp("vit.embeddings");
        let projection = embeddings.pp("patch_embeddings.projection");
        let kernel = projection.get((d, 3, config.patch, config.patch), "weight")?;
        let patches = linears.linear(&[(&kernel, 1.0)], projection.get(d, "bias")?, Finish::Nothing)?;
        let mut layers = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            checkpoint()?;
            layers.push(load_layer(&vb.pp(format!("{}.{layer}", names.layer)), config, names, &mut linears)?);
        }
        let (head, classes) = (vb.pp("classifier"), config.labels.len());
        let classifier = head.get((classes, d), "weight")?;
        Ok(Self {
            class: embeddings.get((1, 1, d), "cls_token")?,
            positions: embeddings.get((1, config.tokens(), d), "position_embeddings")?,
            patches,
            layers,
            norm: norm(&vb.pp("vit.layernorm"), d, config.eps)?,
            classifier: linears.linear(&[(&classifier, 1.0)], head.get(classes, "bias")?, Finish::Nothing)?,
            config: config.clone(),
        })
    }

    #[must_use]
    pub fn config(&self) -> &VitConfig {
        &self.config
    }

    /// One row of logits per image into `out`. `pixels` holds whole images: channels, lines, columns.
    ///
    /// # Errors
    /// `BadShape` if that is no whole number of images; `Cancelled` at a checkpoint.
    pub fn classify(&self, pixels: &[f32], out: &mut [f32]) -> Result<()> {
        let len = 3 * self.config.image * self.config.image;
        let classes = self.config.labels.len();
        if pixels.is_empty() || !pixels.len().is_multiple_of(len) || out.len() != pixels.len() / len * classes {
            return Err(Error::BadShape(format!("{} values are no whole number of images of {len}", pixels.len())));
        }
        let workspace = self.workspace()?;
        for (image, logits) in pixels.chunks_exact(len).zip(out.chunks_exact_mut(classes)) {
            self.embed(image, &workspace)?;
            for layer in &self.layers {
                checkpoint()?;
                self.attention(layer, &workspace)?;
                Self::feed_forward(layer, &workspace, self.config.tokens())?;
            }
            self.read_out(&workspace, logits)?;
        }
        Ok(())
    }

    fn shape(&self) -> Heads {
        Heads { heads: self.config.heads, width: self.config.hidden / self.config.heads }
    }

    fn workspace(&self) -> Result<Workspace> {
        let (d, tokens) = (self.config.hidden, self.config.tokens());
        let zeros = |rows: usize, width: usize| Tensor::zeros((rows, width), DType::F32, &Device::Cpu);
        let block = tokens.min(BLOCK_ROWS);
        let scratch = scratch_len(tokens, self.shape());
        let scratch = scratch.ok_or_else(|| Error::BadShape("the image is beyond what can be addressed".to_owned()))?;
        Ok(Workspace {
            hidden: zeros(tokens, d)?,
            normed: zeros(tokens, d)?,
            qkv: zeros(tokens, 3 * d)?,
            context: zeros(tokens, d)?,
            inner: zeros(block, self.config.intermediate)?,
            patches: zeros(block, self.config.patch_len())?,
            scratch: RefCell::new(vec![0.0; scratch]),
        })
    }

    /// Patches times the kernel, after the class token; positions added.
    fn embed(&self, image: &[f32], buffers: &Workspace) -> Result<()> {
        let count = self.config.tokens() - 1;
        write(&buffers.hidden.narrow(0, 0, 1)?, |row| {
            with_floats(&self.class, |class| {
                row.copy_from_slice(class);
                Ok(())
            })
        })?;
        for first in (0..count).step_by(BLOCK_ROWS) {
            let rows = BLOCK_ROWS.min(count - first);
            let block = buffers.patches.narrow(0, 0, rows)?;
            write(&block, |block| {
                self.cut(image, first, block);
                Ok(())
            })?;
            buffers.hidden.narrow(0, 1 + first, rows)?.inplace_op2(&block, &self.patches)?;
        }
        add_to(&buffers.hidden, &self.positions)
    }

    /// Patches from `first` on as rows, as many as `rows` has room for.
    fn cut(&self, image: &[f32], first: usize, rows: &mut [f32]) {
        let (side, patch, width) = (self.config.side(), self.config.patch, self.config.image);
        for (row, place) in rows.chunks_exact_mut(self.config.patch_len()).zip(first..) {
            let (y, x) = (place / side * patch, place % side * patch);
            for (line, to) in row.chunks_exact_mut(patch).enumerate() {
                let (channel, line) = (line / patch, line % patch);
                to.copy_from_slice(&image[(channel * width + y + line) * width + x..][..patch]);
            }
        }
    }

    fn attention(&self, layer: &Layer, buffers: &Workspace) -> Result<()> {
        normalize(&buffers.normed, &buffers.hidden, &layer.before)?;
        buffers.qkv.inplace_op2(&buffers.normed, &layer.qkv)?;
        let op = Attention { shape: self.shape(), scratch: &buffers.scratch };
        buffers.context.inplace_op2(&buffers.qkv, &op)?;
        buffers.normed.inplace_op2(&buffers.context, &layer.projection)?;
        add_to(&buffers.hidden, &buffers.normed)
    }

    fn feed_forward(layer: &Layer, buffers: &Workspace, tokens: usize) -> Result<()> {
        for start in (0..tokens).step_by(BLOCK_ROWS) {
            let count = BLOCK_ROWS.min(tokens - start);
            let hidden = buffers.hidden.narrow(0, start, count)?;
            let (normed, inner) = (buffers.normed.narrow(0, 0, count)?, buffers.inner.narrow(0, 0, count)?);
            normalize(&normed, &hidden, &layer.after)?;
            inner.inplace_op2(&normed, &layer.expand)?;
            normed.inplace_op2(&inner, &layer.contract)?;
            add_to(&hidden, &normed)?;
        }
        Ok(())
    }

    /// The logits of the class token.
    fn read_out(&self, buffers: &Workspace, logits: &mut [f32]) -> Result<()> {
        let first = buffers.normed.narrow(0, 0, 1)?;
        normalize(&first, &buffers.hidden.narrow(0, 0, 1)?, &self.norm)?;
        let result = Tensor::zeros((1, logits.len()), DType::F32, &Device::Cpu)?;
        result.inplace_op2(&first, &self.classifier)?;
        with_floats(&result, |values| {
            logits.copy_from_slice(values);
            Ok(())
        })?;
        Ok(())
    }

    /// An upper bound of the bytes that `classify` allocates, whatever the number of images.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        let (d, tokens) = (self.config.hidden, self.config.tokens());
        let block = tokens.min(BLOCK_ROWS);
        let scratch = scratch_len(tokens, self.shape()).unwrap_or(usize::MAX);
        let rows = tokens.saturating_mul(6 * d);
        let blocks = block.saturating_mul(self.config.intermediate + self.config.patch_len());
        let floats = rows.saturating_add(blocks).saturating_add(scratch).saturating_add(self.config.labels.len());
        // Tensors' own small structures, a few hundred bytes each and alive a handful at a time.
        (floats as u64).saturating_mul(4).saturating_add(64 << 10)
    }

    /// Floating-point operations of the matrix products for one image, a multiply-add counted as two.
    #[must_use]
    pub fn flops(&self) -> u64 {
        let (d, inner, n) = (self.config.hidden as u64, self.config.intermediate as u64, self.config.tokens() as u64);
        let per_token = 2 * (4 * d * d + 2 * d * inner);
        let layer = per_token.saturating_mul(n).saturating_add(4_u64.saturating_mul(d).saturating_mul(n * n));
        let ends = 2 * d * (self.config.patch_len() as u64 * (n - 1) + self.config.labels.len() as u64);
        layer.saturating_mul(self.config.layers as u64).saturating_add(ends)
    }
}
