//! The logits of the first step against what the reference computed, where its outputs are at hand.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use _engine::model::Model;
use safetensors::SafeTensors;

/// The folder with the reference outputs, if this machine has it.
fn shared() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let folder = std::env::var_os("WICKGUARD_SHARED").map_or(beside, PathBuf::from);
    folder.join("fixtures").is_dir().then_some(folder)
}

fn floats(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let data = tensors.tensor(name).unwrap();
    data.data().as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

#[test]
fn first_logits_are_the_references_with_and_without_missing_values() {
    let Some(shared) = shared() else {
        eprintln!("skipped: the reference outputs are not here; set WICKGUARD_SHARED");
        return;
    };
    let folder = shared.join("fixtures/chronos_t5");
    let bytes = std::fs::read(folder.join("expected.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let Model::Forecast(model) = Model::load(&folder, None).unwrap() else { panic!("a forecaster is expected") };
    for index in 0..4 {
        let got = model.model().first_logits(&floats(&expected, &format!("series_{index}"))).unwrap();
        let want = floats(&expected, &format!("series_{index}.first_logits"));
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() < 1e-3, "series {index}: got {got}, want {want}");
        }
    }
}
