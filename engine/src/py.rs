//! The Python face of the engine; each task's part of it is in a module of its own, `py_embedding` and so on.
//!
//! Converts arguments, releases the interpreter lock while the engine works, and turns each kind of `Error` into its
//! exception class. Promises that no panic leaves as Python's `PanicException`. What each function promises to a
//! caller is written in `wickguard_engine/_engine.pyi`.

use pyo3::IntoPyObjectExt;
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::{Error, Result};
use crate::model::Model;
use crate::panics::{guard, install_hook, overflow_is_checked, panicked};
use crate::py_classifier::PyClassifier;
use crate::py_embedding::{Embeddings, PyEmbedder};
use crate::py_forecaster::PyForecaster;
use crate::py_generation::{PyBatch, PyGenerator, PySession, Step};
use crate::spec::Spec;
use crate::{cancel, ledger};

create_exception!(wickguard_engine, EngineError, PyException, "Anything the engine can't or won't do.");
create_exception!(wickguard_engine, OutOfMemory, EngineError, "More memory would be needed than is allowed.");
create_exception!(wickguard_engine, BadShape, EngineError, "The input does not fit the model.");
create_exception!(wickguard_engine, BadWeights, EngineError, "A model file is damaged.");
create_exception!(wickguard_engine, Unsupported, EngineError, "A model file asks for what this engine does not do.");
create_exception!(wickguard_engine, Cancelled, EngineError, "Stopped at a checkpoint, as asked.");

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::OutOfMemory(_) => OutOfMemory::new_err(message),
            Error::BadShape(_) => BadShape::new_err(message),
            Error::BadWeights(_) => BadWeights::new_err(message),
            Error::Unsupported(_) => Unsupported::new_err(message),
            Error::Cancelled => Cancelled::new_err(message),
            Error::Internal(_) => EngineError::new_err(message),
        }
    }
}

/// Runs `f` without the interpreter lock and without letting a panic out.
pub fn detached<T: Send>(py: Python<'_>, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    py.detach(|| guard(f))
}

/// See `_engine.pyi`; the fields are those of `Spec`.
#[pyclass(frozen, get_all, module = "wickguard_engine")]
pub struct ModelSpec {
    task: &'static str,
    architecture: &'static str,
    parameters: u64,
    weight_bytes: u64,
    warnings: Vec<String>,
    layers: Option<usize>,
    hidden: Option<usize>,
    heads: Option<usize>,
    kv_heads: Option<usize>,
    head_width: Option<usize>,
    intermediate: Option<usize>,
    vocab: Option<usize>,
    max_tokens: Option<usize>,
    dimensions: Option<usize>,
    token_expansion: Option<f32>,
    special_tokens: Option<usize>,
    chat_tokens: Option<usize>,
    message_tokens: Option<usize>,
}

impl From<&Spec> for ModelSpec {
    fn from(spec: &Spec) -> Self {
        Self {
            task: spec.task.name(),
            architecture: spec.architecture,
            parameters: spec.parameters,
            weight_bytes: spec.weight_bytes,
            warnings: spec.warnings.clone(),
            layers: spec.layers,
            hidden: spec.hidden,
            heads: spec.heads,
            kv_heads: spec.kv_heads,
            head_width: spec.head_width,
            intermediate: spec.intermediate,
            vocab: spec.vocab,
            max_tokens: spec.max_tokens,
            dimensions: spec.dimensions,
            token_expansion: spec.token_expansion,
            special_tokens: spec.special_tokens,
            chat_tokens: spec.chat_tokens,
            message_tokens: spec.message_tokens,
        }
    }
}

#[pyclass(frozen, get_all, module = "wickguard_engine")]
struct Ledger {
    current: u64,
    peak: u64,
    limit: u64,
}

#[pyfunction]
#[pyo3(signature = (path, *, memory_limit = None))]
#[allow(clippy::needless_pass_by_value)] // a path can only be taken by value
fn load(py: Python<'_>, path: std::path::PathBuf, memory_limit: Option<u64>) -> PyResult<Bound<'_, PyAny>> {
    match detached(py, || Model::load(&path, memory_limit))? {
        Model::Classify(model) => PyClassifier(*model).into_bound_py_any(py),
        Model::Forecast(model) => PyForecaster(*model).into_bound_py_any(py),
        Model::Embed(model) => PyEmbedder(*model).into_bound_py_any(py),
        Model::Generate(model) => PyGenerator(model).into_bound_py_any(py),
    }
}

#[pyfunction]
#[pyo3(name = "ledger")]
fn read_ledger() -> Ledger {
    use std::sync::atomic::Ordering::Relaxed;
    let counters = ledger::counters();
    Ledger {
        current: counters.current.load(Relaxed),
        peak: counters.peak.load(Relaxed),
        limit: counters.limit.load(Relaxed),
    }
}

#[pyfunction]
fn reset_peak() {
    ledger::reset_peak();
}

#[pyfunction]
#[pyo3(signature = (nbytes))]
fn set_limit(nbytes: Option<u64>) {
    ledger::counters().limit.store(nbytes.unwrap_or(u64::MAX), std::sync::atomic::Ordering::Relaxed);
}

#[pyfunction]
fn attach_ledger(address: usize) -> PyResult<()> {
    let page = ledger::page_at(address);
    let page = page.ok_or_else(|| PyValueError::new_err("address must be that of a page, aligned to 8 bytes"))?;
    // SAFETY: the caller promises, by the function's documentation, a writable page that outlives the process.
    unsafe { ledger::attach(page) };
    Ok(())
}

#[pyfunction]
#[pyo3(name = "cancel")]
fn cancel_now() {
    cancel::cancel();
}

#[pyfunction]
fn clear_cancel() {
    cancel::clear();
}

#[pyfunction]
fn cancel_on_signal(signum: i32) -> PyResult<()> {
    cancel::on_signal(signum).map_err(PyOSError::new_err)
}

#[pyfunction]
#[pyo3(name = "panicked")]
fn has_panicked() -> bool {
    panicked()
}

#[pyfunction]
fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let info = PyDict::new(py);
    let features = [
        ("avx2", cfg!(target_feature = "avx2")),
        ("fma", cfg!(target_feature = "fma")),
        ("bmi1", cfg!(target_feature = "bmi1")),
        ("bmi2", cfg!(target_feature = "bmi2")),
        ("f16c", cfg!(target_feature = "f16c")),
        ("lzcnt", cfg!(target_feature = "lzcnt")),
        ("movbe", cfg!(target_feature = "movbe")),
        ("neon", cfg!(target_feature = "neon")),
    ];
    let features: Vec<&str> = features.into_iter().filter_map(|(name, on)| on.then_some(name)).collect();
    info.set_item("candle", env!("CANDLE_VERSION"))?;
    info.set_item("target_features", features)?;
    info.set_item("overflow_checks", overflow_is_checked())?;
    info.set_item("faults", cfg!(feature = "faults"))?;
    Ok(info)
}

#[pymodule(gil_used = true)]
fn _engine(py: Python<'_>, module: &Bound<'_, PyModule>) -> PyResult<()> {
    install_hook();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("LEDGER_BYTES", ledger::LEDGER_BYTES)?;
    module.add("LEDGER_LAYOUT", ("current", "peak", "limit", "breach", "call", "stop"))?;
    module.add("EngineError", py.get_type::<EngineError>())?;
    module.add("OutOfMemory", py.get_type::<OutOfMemory>())?;
    module.add("BadShape", py.get_type::<BadShape>())?;
    module.add("BadWeights", py.get_type::<BadWeights>())?;
    module.add("Unsupported", py.get_type::<Unsupported>())?;
    module.add("Cancelled", py.get_type::<Cancelled>())?;
    module.add_class::<PyEmbedder>()?;
    module.add_class::<PyClassifier>()?;
    module.add_class::<PyForecaster>()?;
    module.add_class::<PyGenerator>()?;
    module.add_class::<PySession>()?;
    module.add_class::<PyBatch>()?;
    module.add_class::<Step>()?;
    module.add_class::<ModelSpec>()?;
    module.add_class::<Embeddings>()?;
    module.add_class::<Ledger>()?;
    module.add_function(wrap_pyfunction!(load, module)?)?;
    module.add_function(wrap_pyfunction!(read_ledger, module)?)?;
    module.add_function(wrap_pyfunction!(reset_peak, module)?)?;
    module.add_function(wrap_pyfunction!(set_limit, module)?)?;
    module.add_function(wrap_pyfunction!(attach_ledger, module)?)?;
    module.add_function(wrap_pyfunction!(cancel_now, module)?)?;
    module.add_function(wrap_pyfunction!(clear_cancel, module)?)?;
    module.add_function(wrap_pyfunction!(cancel_on_signal, module)?)?;
    module.add_function(wrap_pyfunction!(has_panicked, module)?)?;
    module.add_function(wrap_pyfunction!(build_info, module)?)?;
    #[cfg(feature = "faults")]
    crate::faults::register(module)?;
    Ok(())
}
