//! The Python face of `forecaster`. What it promises is written in `wickguard_engine/_engine.pyi`.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::draw::Sampling;
use crate::forecaster::Forecaster;
use crate::models::chronos::Request;
use crate::py::{ModelSpec, detached};
use crate::py_classifier::{held, to_bytes, to_floats};

#[pyclass(frozen, name = "Forecaster", module = "wickguard_engine")]
pub struct PyForecaster(pub Forecaster);

#[pymethods]
impl PyForecaster {
    #[getter]
    fn spec(&self) -> ModelSpec {
        self.0.spec().into()
    }

    #[getter]
    fn context(&self) -> usize {
        self.0.model().config.context
    }

    #[getter]
    fn horizon(&self) -> usize {
        self.0.model().config.prediction
    }

    #[getter]
    fn num_samples(&self) -> usize {
        self.0.model().config.samples
    }

    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let config = &self.0.model().model().config;
        let shape = PyDict::new(py);
        let parts = [
            ("encoder_layers", config.layers),
            ("decoder_layers", config.decoder_layers),
            ("hidden", config.hidden),
            ("inner", config.inner()),
            ("intermediate", config.intermediate),
            ("vocab", config.vocab),
        ];
        for (name, value) in parts {
            shape.set_item(name, value)?;
        }
        Ok(shape)
    }

    #[pyo3(signature = (series, horizon, *, num_samples = None, temperature = None, top_k = None, top_p = None, seed = 0))]
    #[allow(clippy::too_many_arguments)] // keywords, one each
    fn forecast<'py>(
        &self,
        py: Python<'py>,
        series: &Bound<'py, PyList>,
        horizon: usize,
        num_samples: Option<usize>,
        temperature: Option<f32>,
        top_k: Option<usize>,
        top_p: Option<f32>,
        seed: u64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let own = &self.0.model().config;
        let request = Request {
            horizon,
            samples: num_samples.unwrap_or(own.samples),
            sampling: Sampling {
                temperature: temperature.unwrap_or(own.temperature),
                top_k: top_k.unwrap_or(own.top_k),
                top_p: top_p.unwrap_or(own.top_p),
            },
            seed,
        };
        let held = held(series)?;
        let floats =
            |(index, bytes): (usize, &pyo3::pybacked::PyBackedBytes)| to_floats(&format!("series {index}"), bytes);
        let series = held.iter().enumerate().map(floats).collect::<PyResult<Vec<_>>>()?;
        let samples = detached(py, || self.0.model().forecast(&series, request))?;
        Ok(to_bytes(py, &samples))
    }

    fn peak_bytes(&self, count: usize, points: usize, horizon: usize, num_samples: usize) -> u64 {
        let copied = (count as u64).saturating_mul(points as u64 * 4 + 24);
        self.0.model().peak_bytes(count, points, horizon, num_samples).saturating_add(copied)
    }

    fn flops(&self, points: usize, horizon: usize, num_samples: usize) -> u64 {
        self.0.model().flops(points, horizon, num_samples)
    }
}
