//! A step of several calls against the steps of each alone: the same numbers, to the last bit.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use std::collections::HashMap;

use _engine::models::llama::Llama;
use _engine::models::llama_config::LlamaConfig;
use _engine::models::llama_state::{Cache, Room, Workspace};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * 7919 + seed * 104_729) % 2003) as f32 / 4004.0 - 0.25).collect()
}

/// Sizes that are no multiples of a vector, three query heads for each head of keys.
fn model(kind: &'static str, tied: bool) -> Llama {
    let config = format!(
        r#"{{"hidden_size": 36, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 10,
            "intermediate_size": 50, "vocab_size": 83, "max_position_embeddings": 600, "rms_norm_eps": 1e-5,
            "rope_theta": 1000.0, "hidden_act": "silu", "tie_word_embeddings": {tied}, "eos_token_id": 1}}"#
    );
    let config = LlamaConfig::parse(config.as_bytes(), kind).unwrap();
    let names = (0..config.layers).flat_map(|layer| config.layer_tensors(layer)).chain(config.outer_tensors());
    let tensors: HashMap<String, Tensor> = names
        .enumerate()
        .map(|(seed, (name, shape))| {
            let values = numbers(shape.iter().product(), seed);
            (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
        })
        .collect();
    Llama::load(&VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu), &config).unwrap()
}

fn prompt(index: usize) -> Vec<u32> {
    let lengths = [1_u32, 17, 260, 40, 3, 96, 5, 2, 33, 8];
    (0..lengths[index % lengths.len()]).map(|at| (at * 7 + u32::try_from(index).unwrap() * 5) % 83).collect()
}

#[test]
fn logits_of_a_batch_are_those_of_each_alone() {
    const STEPS: u32 = 6;
    for (kind, tied) in [("llama", true), ("llama", false), ("qwen2", false)] {
        let model = model(kind, tied);
        let (config, vocab) = (model.config(), model.config().vocab);
        for size in [1, 2, 5, 7, 10] {
            let capacity = |index: usize| prompt(index).len() + STEPS as usize;
            let mut alone: Vec<(Cache, Workspace)> = (0..size)
                .map(|index| {
                    let room = Room::alone(capacity(index));
                    (Cache::new(config, capacity(index)).unwrap(), Workspace::new(config, room).unwrap())
                })
                .collect();
            let mut caches: Vec<Cache> = (0..size).map(|index| Cache::new(config, capacity(index)).unwrap()).collect();
            let room = Room::together((0..size).map(capacity)).unwrap();
            let mut work = Workspace::new(config, room).unwrap();
            for (index, (cache, own)) in alone.iter_mut().enumerate() {
                let want = model.forward(&prompt(index), cache, own).unwrap();
                assert_eq!(model.forward(&prompt(index), &mut caches[index], &mut work).unwrap(), want);
            }
            for step in 0..STEPS {
                let ids: Vec<u32> = (0..size).map(|index| (step * 11 + u32::try_from(index).unwrap()) % 83).collect();
                // One has ended before the last steps.
                let live = if step > 3 { size.max(2) - 1 } else { size };
                let mut borrowed: Vec<&mut Cache> = caches.iter_mut().take(live).collect();
                let got = model.step(&ids[..live], &mut borrowed, &mut work).unwrap();
                assert_eq!(got.len(), live * vocab);
                for (index, got) in got.chunks_exact(vocab).enumerate() {
                    let (cache, own) = &mut alone[index];
                    let want = model.forward(&ids[index..=index], cache, own).unwrap();
                    assert!(got == want, "{kind}, {size} calls, step {step}, call {index}");
                    assert!(want.iter().all(|logit| logit.is_finite()));
                }
            }
        }
    }
}

#[test]
fn a_step_is_refused_when_a_cache_is_full() {
    let model = model("llama", true);
    let config = model.config();
    let mut caches = [Cache::new(config, 2).unwrap(), Cache::new(config, 3).unwrap()];
    let mut work = Workspace::new(config, Room::together([2, 3].into_iter()).unwrap()).unwrap();
    let mut step = || {
        let [one, other] = &mut caches;
        model.step(&[5, 6], &mut [one, other], &mut work).map(<[f32]>::len)
    };
    assert_eq!((step().unwrap(), step().unwrap()), (2 * 83, 2 * 83));
    assert!(step().unwrap_err().to_string().contains("there is room for 2"));
    assert!(Room::together(std::iter::empty()).is_err());
}
