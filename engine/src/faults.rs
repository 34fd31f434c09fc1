//! Ways to misbehave on purpose, so that tests can show what contains each of them.
//!
//! Compiled only with the feature `faults`, which no release has; `build_info()["faults"]` tells.

use pyo3::prelude::*;

use crate::error::Error;
use crate::py::detached;

/// Takes memory through the ledger and never gives it back; every page is touched.
#[pyfunction]
fn leak(py: Python<'_>, nbytes: usize) -> PyResult<()> {
    Ok(detached(py, || {
        std::mem::forget(vec![1_u8; nbytes]);
        Ok(())
    })?)
}

/// Takes memory through the ledger, touches every page, and gives it back.
#[pyfunction]
fn allocate(py: Python<'_>, nbytes: usize) -> PyResult<()> {
    Ok(detached(py, || {
        std::hint::black_box(vec![1_u8; nbytes]);
        Ok(())
    })?)
}

/// Panics inside a call.
#[pyfunction]
#[allow(clippy::panic)]
fn panic(py: Python<'_>) -> PyResult<()> {
    Ok(detached(py, || -> Result<(), Error> { panic!("asked to panic") })?)
}

/// Uses a processor for so many seconds of its time, without the interpreter lock and without checkpoints.
#[pyfunction]
fn spin(py: Python<'_>, cpu_s: f64) -> PyResult<()> {
    Ok(detached(py, || {
        let until = cpu_time_s() + cpu_s;
        while cpu_time_s() < until {
            for i in 0..10_000_u32 {
                std::hint::black_box(i);
            }
        }
        Ok(())
    })?)
}

#[allow(clippy::cast_precision_loss)] // nanoseconds of a test
fn cpu_time_s() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to the struct given.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Ends the process by SIGABRT.
#[pyfunction]
fn abort() {
    std::process::abort();
}

/// Ends the process by SIGSEGV.
#[pyfunction]
fn segfault() {
    // SAFETY: none, on purpose: an address that is never mapped. Only in the test build.
    unsafe { std::ptr::with_exposed_provenance_mut::<u8>(8).write_volatile(1) };
}

/// Adds the submodule `faults`.
pub fn register(parent: &Bound<'_, PyModule>) -> PyResult<()> {
    let module = PyModule::new(parent.py(), "faults")?;
    module.add_function(wrap_pyfunction!(leak, &module)?)?;
    module.add_function(wrap_pyfunction!(allocate, &module)?)?;
    module.add_function(wrap_pyfunction!(panic, &module)?)?;
    module.add_function(wrap_pyfunction!(spin, &module)?)?;
    module.add_function(wrap_pyfunction!(abort, &module)?)?;
    module.add_function(wrap_pyfunction!(segfault, &module)?)?;
    parent.add_submodule(&module)
}
