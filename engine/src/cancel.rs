//! A flag that stops a computation at its next checkpoint.
//!
//! One flag for the process, because a process works on one call at a time. Setting it is safe in a signal handler;
//! `on_signal` installs one in C, since Python runs its own handlers only between bytecodes, that is, after the
//! computation. Another process asks through the ledger's page, by the number of the call. Must not know what is computed.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::error::{Error, Result};
use crate::ledger;

static CANCELLED: AtomicBool = AtomicBool::new(false);

/// Asks the running computation, and every later one until `clear`, to stop.
pub fn cancel() {
    CANCELLED.store(true, Relaxed);
}

/// Lets computations run again.
pub fn clear() {
    CANCELLED.store(false, Relaxed);
}

/// # Errors
/// `Cancelled` if someone asked to stop.
pub fn checkpoint() -> Result<()> {
    if CANCELLED.load(Relaxed) || ledger::call_is_stopped() { Err(Error::Cancelled) } else { Ok(()) }
}

extern "C" fn handle(_signal: libc::c_int) {
    cancel();
}

/// Makes a signal set the flag.
///
/// # Errors
/// What the system says about the signal's number.
pub fn on_signal(signal: i32) -> std::io::Result<()> {
    let handler: extern "C" fn(libc::c_int) = handle;
    // SAFETY: an all-zero sigaction is a valid one; the handler only stores to an atomic.
    let status = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut())
    };
    if status == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
