//! The Python face of `generator`, `session` and `batch`. What it promises is written in `wickguard_engine/_engine.pyi`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyList, PyString};

use crate::batch::Batch;
use crate::chat::Message;
use crate::error::{Error, Result};
use crate::generator::Generator;
use crate::py::{BadShape, ModelSpec, detached};
use crate::sampling::Sampling;
use crate::session::{self, Asked, Ending, Session};

#[pyclass(frozen, name = "Generator", module = "wickguard_engine")]
pub struct PyGenerator(pub Arc<Generator>);

/// A call in progress. The lock is never waited for in practice: a session belongs to one caller.
#[pyclass(frozen, name = "Session", module = "wickguard_engine")]
pub struct PySession(Arc<Mutex<Session>>);

/// Calls in progress together.
#[pyclass(frozen, name = "Batch", module = "wickguard_engine")]
pub struct PyBatch {
    batch: Mutex<Batch>,
    sessions: Vec<Arc<Mutex<Session>>>,
}

#[pyclass(frozen, get_all, module = "wickguard_engine")]
pub struct Step {
    id: u32,
    text: String,
    finish: Option<&'static str>,
}

impl From<session::Step> for Step {
    fn from(step: session::Step) -> Self {
        let finish = step.ending.map(|ending| match ending {
            Ending::Stop => "stop",
            Ending::Length => "length",
        });
        Self { id: step.id, text: step.text, finish }
    }
}

#[pymethods]
impl PyGenerator {
    #[getter]
    fn spec(&self) -> ModelSpec {
        self.0.spec().into()
    }

    #[allow(clippy::needless_pass_by_value)] // held while the interpreter lock is not
    fn encode(&self, py: Python<'_>, text: PyBackedStr) -> PyResult<Vec<u32>> {
        Ok(detached(py, || self.0.encode(&text))?)
    }

    fn encode_chat(&self, py: Python<'_>, messages: Vec<(String, String)>) -> PyResult<Vec<u32>> {
        Ok(detached(py, || {
            let messages: Vec<Message> =
                messages.into_iter().map(|(role, content)| Message { role, content }).collect();
            self.0.encode_chat(&messages)
        })?)
    }

    #[pyo3(signature = (prompt, *, max_tokens, temperature = 0.0, top_p = 1.0, top_k = 0, seed = 0, stop = vec![],
                        repetition_penalty = 1.0, presence_penalty = 0.0, frequency_penalty = 0.0, ignore_end = false,
                        in_batch = false))]
    #[allow(clippy::too_many_arguments)] // keywords in Python
    fn start(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyAny>,
        max_tokens: usize,
        temperature: f32,
        top_p: f32,
        top_k: usize,
        seed: u64,
        stop: Vec<String>,
        repetition_penalty: f32,
        presence_penalty: f32,
        frequency_penalty: f32,
        ignore_end: bool,
        in_batch: bool,
    ) -> PyResult<PySession> {
        let sampling =
            Sampling { temperature, top_p, top_k, seed, repetition_penalty, presence_penalty, frequency_penalty };
        let asked = Asked { max_tokens, sampling, stops: stop, ignore_end, in_batch };
        let prompt = Prompt::take(prompt, self.0.llama().config().positions)?;
        let session = detached(py, || {
            let ids = match prompt {
                Prompt::Text(text) => self.0.encode(&text)?,
                Prompt::Ids(ids) => ids,
            };
            self.0.start(ids, asked)
        })?;
        Ok(PySession(Arc::new(Mutex::new(session))))
    }

    #[allow(clippy::needless_pass_by_value)] // a list can only be taken by value
    fn logits<'py>(&self, py: Python<'py>, ids: Vec<u32>) -> PyResult<Bound<'py, PyBytes>> {
        let values = detached(py, || self.0.logits(&ids))?;
        // SAFETY: floats are plain bytes, four each.
        let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values.as_slice())) };
        Ok(PyBytes::new(py, bytes))
    }

    #[pyo3(signature = (prompt_tokens, max_tokens, text_bytes = 0))]
    fn peak_bytes(&self, prompt_tokens: usize, max_tokens: usize, text_bytes: usize) -> u64 {
        self.0.peak_bytes(prompt_tokens, max_tokens, text_bytes)
    }

    fn flops(&self, prompt_tokens: usize, new_tokens: usize) -> u64 {
        self.0.flops(prompt_tokens, new_tokens)
    }
}

#[pymethods]
impl PySession {
    fn step(&self, py: Python<'_>) -> PyResult<Step> {
        Ok(self.with(py, Session::step)?.into())
    }

    #[getter]
    fn prompt_tokens(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.with(py, |session| Ok(session.prompt_tokens()))?)
    }

    #[getter]
    fn completion_tokens(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.with(py, |session| Ok(session.completion_tokens()))?)
    }
}

impl PySession {
    fn with<T: Send>(&self, py: Python<'_>, f: impl FnOnce(&mut Session) -> Result<T> + Send) -> Result<T> {
        // A session that panicked says itself that it is over.
        detached(py, || f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[pymethods]
impl PyBatch {
    #[new]
    #[allow(clippy::needless_pass_by_value)] // a list can only be taken by value
    fn new(py: Python<'_>, sessions: Vec<PyRef<'_, PySession>>) -> PyResult<Self> {
        let sessions: Vec<_> = sessions.iter().map(|session| Arc::clone(&session.0)).collect();
        let batch = detached(py, || Batch::new(&locked(&sessions)?))?;
        Ok(Self { batch: Mutex::new(batch), sessions })
    }

    fn step(&self, py: Python<'_>) -> PyResult<Vec<(usize, Step)>> {
        let steps = detached(py, || {
            let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
            batch.step(&mut locked(&self.sessions)?)
        })?;
        Ok(steps.into_iter().map(|(at, step)| (at, step.into())).collect())
    }
}

/// All of the sessions at once. Nobody waits: two batches that share some would wait for each other.
fn locked(sessions: &[Arc<Mutex<Session>>]) -> Result<Vec<MutexGuard<'_, Session>>> {
    let lock = |session| match Mutex::try_lock(session) {
        Ok(guard) => Ok(guard),
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => {
            Err(Error::BadShape("a session is in use, or more than once in the batch".to_owned()))
        }
    };
    sessions.iter().map(|session| lock(session.as_ref())).collect()
}

/// A prompt that can be read without the interpreter lock.
enum Prompt {
    Text(PyBackedStr),
    Ids(Vec<u32>),
}

impl Prompt {
    /// `room` is how many ids are of any use: one more shows that there are too many.
    fn take(item: &Bound<'_, PyAny>, room: usize) -> PyResult<Self> {
        if let Ok(text) = item.cast::<PyString>() {
            let text = PyBackedStr::try_from(text.clone());
            return text.map(Self::Text).map_err(|_| BadShape::new_err("prompt is no valid Unicode"));
        }
        let Ok(list) = item.cast::<PyList>() else {
            return Err(PyTypeError::new_err(format!(
                "prompt is {}; str and list[int] are taken",
                item.get_type().name()?
            )));
        };
        if list.len() > room {
            return Err(BadShape::new_err(format!("prompt has {} tokens; the limit is {room}", list.len())));
        }
        let id = |(at, id): (usize, Bound<'_, PyAny>)| {
            id.extract::<u32>().map_err(|error| {
                if error.is_instance_of::<PyOverflowError>(id.py()) {
                    BadShape::new_err(format!("prompt has a token id at {at} that no vocabulary has"))
                } else {
                    PyTypeError::new_err(format!("prompt has something at {at} that is no int"))
                }
            })
        };
        list.iter().enumerate().map(id).collect::<PyResult<Vec<u32>>>().map(Self::Ids)
    }
}
