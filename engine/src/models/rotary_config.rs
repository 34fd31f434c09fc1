//! What config.json says about rotary positions, and the angle by which each pair of a head turns per position.
//!
//! Promises that a scaling which this engine does not know is refused by name, because a model with wrong angles still
//! writes fluent nonsense. Reads both spellings: `rope_theta` with `rope_scaling`, and `rope_parameters` with both inside.
//! Angles as in Su et al. (RoFormer, 2021); "linear" is Chen et al. (2023), "llama3" is what Llama 3.1 was published with.

use serde_json::Value;

use crate::error::{Error, Result};

/// How positions become angles.
#[derive(Clone, Debug, PartialEq)]
pub struct RotaryConfig {
    theta: f64,
    scaling: Scaling,
}

#[derive(Clone, Debug, PartialEq)]
enum Scaling {
    None,
    Linear { factor: f64 },
    Llama3 { factor: f64, low: f64, high: f64, original: f64 },
}

fn number(values: &Value, field: &str) -> Result<f64> {
    let value = values.get(field).and_then(Value::as_f64).filter(|value| *value > 0.0 && *value < 1e12);
    value.ok_or_else(|| Error::BadWeights(format!("config.json: {field} is missing or no number above 0, below 1e12")))
}

impl RotaryConfig {
    /// Reads a parsed config.json; `positions` is the original length when the scaling does not say it.
    ///
    /// # Errors
    /// `Unsupported` for an unknown scaling, `BadWeights` for numbers that make no sense.
    #[allow(clippy::cast_precision_loss)] // positions are far below 2^52
    pub fn parse(config: &Value, positions: u64) -> Result<Self> {
        let new = config.get("rope_parameters").filter(|value| value.is_object());
        let old = config.get("rope_scaling").filter(|value| value.is_object());
        let theta = match (new, config.get("rope_theta")) {
            (Some(new), _) if new.get("rope_theta").is_some() => number(new, "rope_theta")?,
            (_, Some(_)) => number(config, "rope_theta")?,
            _ => 10_000.0,
        };
        let Some(said) = new.or(old) else {
            return Ok(Self { theta, scaling: Scaling::None });
        };
        let kind = said.get("rope_type").or_else(|| said.get("type")).and_then(Value::as_str).unwrap_or("missing");
        let scaling = match kind {
            "default" => Scaling::None,
            "linear" => Scaling::Linear { factor: number(said, "factor")? },
            "llama3" => Scaling::Llama3 {
                factor: number(said, "factor")?,
                low: number(said, "low_freq_factor")?,
                high: number(said, "high_freq_factor")?,
                original: number(said, "original_max_position_embeddings").unwrap_or(positions as f64),
            },
            other => {
                return Err(Error::Unsupported(format!(
                    "config.json: rope_type is {other}; this engine does \"default\", \"linear\" and \"llama3\""
                )));
            }
        };
        if let Scaling::Llama3 { low, high, .. } = scaling
            && low >= high
        {
            return Err(Error::BadWeights("config.json: low_freq_factor is not below high_freq_factor".to_owned()));
        }
        Ok(Self { theta, scaling })
    }

    /// Radians per position for each of the `width` / 2 pairs of a head.
    #[must_use]
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // widths are small, angles are f32
    pub fn steps(&self, width: usize) -> Vec<f32> {
        let plain = (0..width / 2).map(|pair| self.theta.powf(-((2 * pair) as f64) / width as f64));
        plain.map(|step| self.scale(step) as f32).collect()
    }

    fn scale(&self, step: f64) -> f64 {
        match self.scaling {
            Scaling::None => step,
            Scaling::Linear { factor } => step / factor,
            Scaling::Llama3 { factor, low, high, original } => {
                let turns = original * step / std::f64::consts::TAU;
                if turns < low {
                    step / factor
                } else if turns > high {
                    step
                } else {
                    let smooth = (turns - low) / (high - low);
                    (1.0 - smooth) * step / factor + smooth * step
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::RotaryConfig;
    use serde_json::json;

    #[test]
    fn unknown_scaling_is_refused_by_name() {
        let config = json!({"rope_theta": 10_000.0, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}});
        let error = RotaryConfig::parse(&config, 512).unwrap_err().to_string();
        assert!(error.contains("yarn"), "{error}");
    }

    #[test]
    fn both_spellings_say_the_same() {
        let old = json!({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}});
        let new = json!({"rope_parameters": {"rope_theta": 5e5, "rope_type": "linear", "factor": 2.0}});
        let (old, new) = (RotaryConfig::parse(&old, 8).unwrap(), RotaryConfig::parse(&new, 8).unwrap());
        assert_eq!(old, new);
        assert!((old.steps(4)[0] - 0.5).abs() < 1e-7);
    }

    #[test]
    fn llama3_keeps_fast_pairs_and_slows_the_slow_ones() {
        let config = json!({"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
            "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}});
        let scaled = RotaryConfig::parse(&config, 131_072).unwrap().steps(128);
        let plain = RotaryConfig::parse(&json!({"rope_theta": 5e5}), 1).unwrap().steps(128);
        assert!((scaled[0] - plain[0]).abs() < 1e-7);
        assert!((scaled[63] * 8.0 / plain[63] - 1.0).abs() < 1e-5);
        let between = scaled.iter().zip(&plain).filter(|(s, p)| *s / *p > 0.13 && *s / *p < 0.99).count();
        assert!(between > 3, "{between} pairs lie between");
    }
}
