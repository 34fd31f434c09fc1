//! What happens when the engine itself is wrong.
//!
//! A panic is caught at the entry point that it happened under, remembered, and reported as one line on stderr; the
//! process should then be replaced, because what a panic left behind is not known. Must not know about Python.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::error::{Error, Result};

static PANICKED: AtomicBool = AtomicBool::new(false);
static PROBING: AtomicBool = AtomicBool::new(false);

/// Whether a panic has happened since the process began.
pub fn panicked() -> bool {
    PANICKED.load(Relaxed)
}

/// One line per panic instead of Rust's several.
pub fn install_hook() {
    std::panic::set_hook(Box::new(|info| {
        if PROBING.load(Relaxed) {
            return;
        }
        PANICKED.store(true, Relaxed);
        let place = info.location().map_or_else(|| "unknown place".to_owned(), ToString::to_string);
        eprintln!("wickguard_engine: panic at {place}");
    }));
}

/// Runs `f`; a panic in it becomes `Internal`.
pub fn guard<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        let said = payload.downcast_ref::<&str>().copied().map(str::to_owned);
        let said = said.or_else(|| payload.downcast_ref::<String>().cloned());
        Err(Error::Internal(said.unwrap_or_else(|| "panic without a message".to_owned())))
    })
}

/// Whether this build checks integer overflow, found by trying.
pub fn overflow_is_checked() -> bool {
    PROBING.store(true, Relaxed);
    let one = std::hint::black_box(1_u8);
    let checked = catch_unwind(|| std::hint::black_box(std::hint::black_box(u8::MAX) + one)).is_err();
    PROBING.store(false, Relaxed);
    checked
}
