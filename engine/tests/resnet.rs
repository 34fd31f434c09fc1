//! ResNet against the same network written with candle's own convolutions, batch normalisations and poolings.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use std::collections::HashMap;

use _engine::models::resnet::ResNet;
use _engine::models::resnet_config::{Conv, ResNetConfig};
use candle_core::{DType, Device, Tensor};
use candle_nn::{BatchNorm, Conv2d, Conv2dConfig, Module, ModuleT, VarBuilder, batch_norm};

/// A published configuration, made small: a bottleneck network has other layers than a basic one.
fn config(layer_type: &str, first_stage: bool, bottleneck: bool) -> ResNetConfig {
    let json = format!(
        r#"{{"model_type": "resnet", "num_channels": 3, "embedding_size": 12, "hidden_sizes": [20, 36, 40],
            "depths": [2, 1, 2], "layer_type": "{layer_type}", "hidden_act": "relu",
            "downsample_in_first_stage": {first_stage}, "downsample_in_bottleneck": {bottleneck},
            "id2label": {{"0": "a", "1": "b", "2": "c", "3": "d", "4": "e"}}}}"#
    );
    ResNetConfig::parse(json.as_bytes()).unwrap()
}

/// Weights that are the same on every run. Variances are positive, scales near one.
fn weights(config: &ResNetConfig) -> HashMap<String, Tensor> {
    let mut state = 9_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    let mut tensor = |name: String, shape: Vec<usize>| {
        let scale = 1.0 / (shape[1..].iter().product::<usize>() as f32).sqrt();
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| next() * scale).collect();
        let values = match name.rsplit('.').next() {
            Some("running_var") => values.iter().map(|value| value.abs() + 0.3).collect(),
            Some("weight") if name.contains("normalization") => values.iter().map(|value| value * 0.3 + 1.0).collect(),
            _ => values,
        };
        (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    };
    config.tensors().map(|(name, shape)| tensor(name, shape)).collect()
}

struct Reference<'a>(VarBuilder<'a>);

impl Reference<'_> {
    fn conv(&self, conv: &Conv, x: &Tensor) -> Tensor {
        let vb = self.0.pp(&conv.name);
        let kernel = conv.window.kernel;
        let weight = vb.get((conv.to, conv.from, kernel, kernel), "convolution.weight").unwrap();
        let how = Conv2dConfig { padding: conv.window.padding, stride: conv.window.stride, ..Conv2dConfig::default() };
        let norm: BatchNorm = batch_norm(conv.to, 1e-5, vb.pp("normalization")).unwrap();
        norm.forward_t(&Conv2d::new(weight, None, how).forward(x).unwrap(), false).unwrap()
    }

    /// As the paper and transformers have it, straightforwardly. Padding before the pooling is zeros, which is right
    /// after a rectifier.
    fn logits(&self, config: &ResNetConfig, x: &Tensor) -> Vec<f32> {
        let x = self.conv(&config.stem, x).relu().unwrap();
        let x = x.pad_with_zeros(2, 1, 1).unwrap().pad_with_zeros(3, 1, 1).unwrap();
        let mut x = x.max_pool2d_with_stride(3, 2).unwrap();
        for block in &config.blocks {
            let mut y = x.clone();
            for (at, conv) in block.convs.iter().enumerate() {
                y = self.conv(conv, &y);
                if at + 1 < block.convs.len() {
                    y = y.relu().unwrap();
                }
            }
            let shortcut = block.shortcut.as_ref().map_or_else(|| x.clone(), |conv| self.conv(conv, &x));
            x = (y + shortcut).unwrap().relu().unwrap();
        }
        let mean = x.mean(3).unwrap().mean(2).unwrap();
        let classes = config.labels.len();
        let head = candle_nn::linear(config.hidden, classes, self.0.pp("classifier.1")).unwrap();
        head.forward(&mean).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }
}

fn compare(config: &ResNetConfig, (height, width): (usize, usize)) {
    let vb = VarBuilder::from_tensors(weights(config), DType::F32, &Device::Cpu);
    let model = ResNet::load(&vb, config, (height, width)).unwrap();
    let pixels: Vec<f32> = (0..2 * 3 * height * width).map(|at| ((at * 37 % 101) as f32 / 50.0) - 1.0).collect();
    let images = Tensor::from_slice(&pixels, (2, 3, height, width), &Device::Cpu).unwrap();
    let want = Reference(vb).logits(config, &images);
    let mut got = vec![f32::NAN; 2 * config.labels.len()];
    model.classify(&pixels, &mut got).unwrap();
    for (got, want) in got.iter().zip(&want) {
        assert!((got - want).abs() < 1e-4 * want.abs().max(1.0), "{height} x {width}: got {got}, want {want}");
    }
}

#[test]
fn logits_are_the_references_for_both_kinds_of_layer_and_every_place_of_the_stride() {
    for (kind, first_stage, bottleneck) in
        [("basic", false, false), ("basic", true, false), ("bottleneck", false, false), ("bottleneck", true, true)]
    {
        compare(&config(kind, first_stage, bottleneck), (64, 64));
    }
}

#[test]
fn logits_are_the_references_for_odd_and_oblong_images() {
    for size in [(33, 50), (71, 40), (17, 17), (1, 9)] {
        compare(&config("basic", false, false), size);
        compare(&config("bottleneck", false, true), size);
    }
}

#[test]
fn operations_are_those_of_the_published_resnet_50() {
    // He et al., 2015, table 1, says 3.8e9 multiply-adds with the stride in the first convolution of a bottleneck;
    // with it in the second, as published since, they are 4.1e9. Here a multiply-add counts as two.
    let json = r#"{"model_type": "resnet", "embedding_size": 64, "hidden_sizes": [256, 512, 1024, 2048],
        "depths": [3, 4, 6, 3], "layer_type": "bottleneck", "hidden_act": "relu"}"#;
    let config = ResNetConfig::parse(json.as_bytes()).unwrap();
    let parameters: usize = config.tensors().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    assert!((23_500_000..26_000_000).contains(&parameters), "{parameters}");
    let tensors = config.tensors().map(|(name, shape)| (name, Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()));
    let vb = VarBuilder::from_tensors(tensors.collect(), DType::F32, &Device::Cpu);
    let flops = ResNet::load(&vb, &config, (224, 224)).unwrap().flops();
    assert!((8_000_000_000..8_400_000_000).contains(&flops), "{flops}");
}
