//! The Python face of `classifier`. What it promises is written in `wickguard_engine/_engine.pyi`.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList};

use crate::classifier::Classifier;
use crate::py::{BadShape, ModelSpec, detached};

#[pyclass(frozen, name = "Classifier", module = "wickguard_engine")]
pub struct PyClassifier(pub Classifier);

/// Floats as little-endian bytes.
pub fn to_bytes<'py>(py: Python<'py>, values: &[f32]) -> Bound<'py, PyBytes> {
    #[cfg(target_endian = "big")]
    compile_error!("the vectors are handed out as little-endian bytes");
    // SAFETY: floats are plain bytes, four each.
    PyBytes::new(py, unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) })
}

/// Little-endian bytes as floats, copied: Python's bytes have no alignment for floats.
pub fn to_floats(name: &str, bytes: &[u8]) -> PyResult<Vec<f32>> {
    let (fours, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(BadShape::new_err(format!("{name} has {} bytes, no whole number of f32", bytes.len())));
    }
    Ok(fours.iter().map(|four| f32::from_le_bytes(*four)).collect())
}

/// A list of bytes objects, readable without the interpreter lock.
pub fn held(list: &Bound<'_, PyList>) -> PyResult<Vec<PyBackedBytes>> {
    let take = |(index, item): (usize, Bound<'_, PyAny>)| {
        item.cast::<PyBytes>()
            .map(|bytes| PyBackedBytes::from(bytes.clone()))
            .map_err(|_| PyTypeError::new_err(format!("input {index} is no bytes object")))
    };
    list.iter().enumerate().map(take).collect()
}

#[pymethods]
impl PyClassifier {
    #[getter]
    fn spec(&self) -> ModelSpec {
        self.0.spec().into()
    }

    #[getter]
    fn labels(&self) -> Vec<String> {
        self.0.labels().to_vec()
    }

    #[getter]
    fn size(&self) -> (usize, usize) {
        self.0.size()
    }

    #[pyo3(signature = (images, *, max_pixels))]
    fn classify<'py>(
        &self,
        py: Python<'py>,
        images: &Bound<'py, PyList>,
        max_pixels: u64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let held = held(images)?;
        let logits = detached(py, || {
            let files: Vec<&[u8]> = held.iter().map(AsRef::as_ref).collect();
            self.0.classify_pictures(&files, max_pixels)
        })?;
        Ok(to_bytes(py, &logits))
    }

    #[allow(clippy::needless_pass_by_value)] // can only be taken by value
    fn classify_pixels<'py>(&self, py: Python<'py>, pixel_values: PyBackedBytes) -> PyResult<Bound<'py, PyBytes>> {
        let values = to_floats("pixel_values", &pixel_values)?;
        let logits = detached(py, || self.0.classify_pixels(&values))?;
        Ok(to_bytes(py, &logits))
    }

    fn peak_bytes(&self, count: usize, file_bytes: u64, height: usize, width: usize) -> u64 {
        self.0.picture_peak_bytes(count, file_bytes, (height, width))
    }

    fn pixels_peak_bytes(&self, count: usize) -> u64 {
        let (height, width) = self.0.size();
        self.0.peak_bytes(count).saturating_add((count as u64).saturating_mul((height * width * 12) as u64))
    }

    fn flops(&self) -> u64 {
        self.0.flops()
    }
}
