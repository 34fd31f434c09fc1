//! The Python face of `embedder`. What it promises is written in `wickguard_engine/_engine.pyi`.

use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyList, PyString};

use crate::embedder::{Embedder, Input};
use crate::py::{BadShape, ModelSpec, detached};

#[pyclass(frozen, get_all, module = "wickguard_engine")]
pub struct Embeddings {
    data: Py<PyBytes>,
    tokens: Vec<usize>,
}

#[pyclass(frozen, name = "Embedder", module = "wickguard_engine")]
pub struct PyEmbedder(pub Embedder);

#[pymethods]
impl PyEmbedder {
    #[getter]
    fn spec(&self) -> ModelSpec {
        self.0.spec().into()
    }

    #[pyo3(signature = (inputs, *, truncate = false, normalize = true))]
    fn embed(
        &self,
        py: Python<'_>,
        inputs: &Bound<'_, PyList>,
        truncate: bool,
        normalize: bool,
    ) -> PyResult<Embeddings> {
        let room = if truncate { self.0.max_tokens() } else { usize::MAX };
        let held =
            inputs.iter().enumerate().map(|(i, item)| Held::take(i, &item, room)).collect::<PyResult<Vec<_>>>()?;
        let embedded = detached(py, || {
            let inputs: Vec<Input<'_>> = held.iter().map(Held::input).collect();
            self.0.embed(&inputs, truncate, normalize)
        })?;
        #[cfg(target_endian = "big")]
        compile_error!("the vectors are handed out as little-endian bytes");
        let values = embedded.values.as_slice();
        // SAFETY: floats are plain bytes, four each.
        let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) };
        Ok(Embeddings { data: PyBytes::new(py, bytes).unbind(), tokens: embedded.tokens })
    }

    fn peak_bytes(&self, tokens: usize, longest: usize) -> u64 {
        self.0.peak_bytes(tokens, longest)
    }

    #[allow(clippy::needless_pass_by_value)] // a list can only be taken by value
    fn flops(&self, lengths: Vec<usize>) -> u64 {
        self.0.flops(&lengths)
    }
}

/// An input that can be read without the interpreter lock: a text in its Python object, ids copied out of theirs.
enum Held {
    Text(PyBackedStr),
    Ids(Vec<u32>),
}

impl Held {
    /// `room` is how many ids are of any use.
    fn take(index: usize, item: &Bound<'_, PyAny>, room: usize) -> PyResult<Self> {
        if let Ok(text) = item.cast::<PyString>() {
            let text = PyBackedStr::try_from(text.clone());
            return text.map(Self::Text).map_err(|_| BadShape::new_err(format!("input {index} is no valid Unicode")));
        }
        let Ok(list) = item.cast::<PyList>() else {
            let kind = item.get_type().name()?;
            return Err(PyTypeError::new_err(format!("input {index} is {kind}; str and list[int] are taken")));
        };
        let id = |(at, id): (usize, Bound<'_, PyAny>)| {
            id.extract::<u32>().map_err(|error| {
                if error.is_instance_of::<PyOverflowError>(id.py()) {
                    BadShape::new_err(format!("input {index} has a token id at {at} that no vocabulary has"))
                } else {
                    PyTypeError::new_err(format!("input {index} has something at {at} that is no int"))
                }
            })
        };
        list.iter().take(room).enumerate().map(id).collect::<PyResult<Vec<u32>>>().map(Self::Ids)
    }

    fn input(&self) -> Input<'_> {
        match self {
            Self::Text(text) => Input::Text(text),
            Self::Ids(ids) => Input::Ids(ids),
        }
    }
}
