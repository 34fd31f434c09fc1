//! The global allocator: it counts every byte the engine holds, and says no at a limit.
//!
//! Decides where blocks live: small ones in the C heap, blocks of `HUGE` and more alone in anonymous memory aligned
//! for transparent huge pages, so that a fork copies few page-table entries and a matrix product misses few of them.
//! Promises that `current` is the sum of the sizes asked for and not yet given back; that a refusal writes its size to
//! `breach` before it returns null (Rust then aborts the process, there is no fallible allocation in candle); and that
//! memory inside a mapped file (see `mapping`) is never freed. The counters may live in a page shared with a parent
//! process, which can read them after this process has died. Must not know about tensors or Python, and must not
//! allocate.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::{null_mut, with_exposed_provenance_mut};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};

use crate::mapping;

/// Bytes of the shared page that `attach` asks for.
pub const LEDGER_BYTES: usize = 4096;
/// Size and alignment of a huge page, and the block size from which a block lives on them.
const HUGE: usize = 2 << 20;
/// Take the address or fail. Elsewhere than on Linux the address is a hint, which is as good.
#[cfg(target_os = "linux")]
const NO_REPLACE: libc::c_int = libc::MAP_FIXED_NOREPLACE;
#[cfg(not(target_os = "linux"))]
const NO_REPLACE: libc::c_int = 0;

/// The page: little-endian u64, in this order. The last two are for whoever runs calls one after the other: which one runs
/// (0: none), and which one is to stop; see `cancel`. A call that is over can't be stopped by mistake in the next one.
#[repr(C)]
pub struct Counters {
    pub current: AtomicU64,
    pub peak: AtomicU64,
    /// `u64::MAX` is no limit.
    pub limit: AtomicU64,
    /// Size of the first allocation that was refused; 0 if none was.
    pub breach: AtomicU64,
    pub call: AtomicU64,
    pub stop: AtomicU64,
}

static OWN: Counters = Counters {
    current: AtomicU64::new(0),
    peak: AtomicU64::new(0),
    limit: AtomicU64::new(u64::MAX),
    breach: AtomicU64::new(0),
    call: AtomicU64::new(0),
    stop: AtomicU64::new(0),
};
/// Null means `OWN`.
static SHARED: AtomicPtr<Counters> = AtomicPtr::new(null_mut());

/// The counters in use.
pub fn counters() -> &'static Counters {
    // SAFETY: only `attach` stores here, whose caller promises that the page stays valid until the process ends.
    unsafe { SHARED.load(Relaxed).as_ref() }.unwrap_or(&OWN)
}

/// Moves the counters into a page, with their present values. Call it while no other thread allocates: what another
/// thread books during the move may be lost.
///
/// # Safety
/// `page` must be aligned to 8 bytes and writable for `LEDGER_BYTES` until the process ends.
pub unsafe fn attach(page: *mut Counters) {
    let from = counters();
    // SAFETY: the caller's promise.
    let to = unsafe { &*page };
    to.current.store(from.current.load(Relaxed), Relaxed);
    to.peak.store(from.peak.load(Relaxed), Relaxed);
    to.limit.store(from.limit.load(Relaxed), Relaxed);
    to.breach.store(0, Relaxed);
    SHARED.store(page, Relaxed);
}

/// Whether the call that runs is to stop.
#[must_use]
pub fn call_is_stopped() -> bool {
    let counters = counters();
    let call = counters.call.load(Relaxed);
    call != 0 && counters.stop.load(Relaxed) == call
}

/// Starts a new peak at the present level.
pub fn reset_peak() {
    let counters = counters();
    counters.peak.store(counters.current.load(Relaxed), Relaxed);
}

/// The engine's allocator.
pub struct Ledger;

/// Books `size` bytes; false, and the breach noted, if that would pass the limit.
fn book(size: usize) -> bool {
    let counters = counters();
    let size = size as u64;
    let level = counters.current.fetch_add(size, Relaxed).saturating_add(size);
    if level > counters.limit.load(Relaxed) {
        counters.current.fetch_sub(size, Relaxed);
        refuse(size);
        return false;
    }
    if level > counters.peak.load(Relaxed) {
        counters.peak.fetch_max(level, Relaxed);
    }
    true
}

fn release(size: usize) {
    counters().current.fetch_sub(size as u64, Relaxed);
}

fn refuse(size: u64) {
    let _ = counters().breach.compare_exchange(0, size, Relaxed, Relaxed);
}

/// Ends a booking: keeps it if there is memory, undoes it and notes the breach if the system had none.
fn settle(block: *mut u8, size: usize) -> *mut u8 {
    if block.is_null() {
        release(size);
        refuse(size as u64);
    }
    block
}

/// Blocks of a page and more begin at a cache line: a vector read across two lines costs two reads.
fn aligned(layout: Layout) -> Layout {
    if layout.size() < 4096 { layout } else { layout.align_to(64).unwrap_or(layout) }
}

fn is_huge(layout: Layout) -> bool {
    layout.size() >= HUGE && layout.align() <= HUGE
}

/// Fresh zeroed memory, at a huge-page boundary if one is found.
///
/// A reservation without access, which the kernel does not count as data, shows where there is room. It is given back
/// before the block is mapped there: mapping over it would not count against RLIMIT_DATA, because the kernel subtracts
/// what such a mapping replaces, whatever that was.
fn map_huge(size: usize) -> *mut u8 {
    let Some(room) = size.checked_add(HUGE) else {
        return null_mut();
    };
    let pages = size.next_multiple_of(4096);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: plain anonymous mappings; only the reservation made here is unmapped, and nothing is ever replaced.
    unsafe {
        let reserved = libc::mmap(null_mut(), room, libc::PROT_NONE, flags, -1, 0);
        if reserved == libc::MAP_FAILED {
            return null_mut();
        }
        let wanted = reserved.byte_add(reserved.addr().next_multiple_of(HUGE) - reserved.addr());
        libc::munmap(reserved, room);
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let mut block = libc::mmap(wanted, pages, access, flags | NO_REPLACE, -1, 0);
        if block == libc::MAP_FAILED {
            // Another thread was quicker, or there is no memory: the second attempt tells.
            block = libc::mmap(null_mut(), pages, access, flags, -1, 0);
        }
        if block == libc::MAP_FAILED {
            return null_mut();
        }
        #[cfg(target_os = "linux")]
        libc::madvise(block, pages, libc::MADV_HUGEPAGE);
        block.cast()
    }
}

// SAFETY: blocks come from the system's allocator or from mappings of their own; which of the two is decided by the
// layout alone, so that allocation and release agree. Memory in a mapped file belongs to `mapping` until it is undone.
unsafe impl GlobalAlloc for Ledger {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !book(layout.size()) {
            return null_mut();
        }
        let size = layout.size();
        // SAFETY: passed on.
        let block = if is_huge(layout) { map_huge(size) } else { unsafe { System.alloc(aligned(layout)) } };
        settle(block, size)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !book(layout.size()) {
            return null_mut();
        }
        let size = layout.size();
        // SAFETY: passed on; fresh mappings are zeros.
        let block = if is_huge(layout) { map_huge(size) } else { unsafe { System.alloc_zeroed(aligned(layout)) } };
        settle(block, size)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if mapping::contains(block) {
            return;
        }
        release(layout.size());
        // SAFETY: the block came from the branch that its layout chooses.
        unsafe {
            if is_huge(layout) {
                libc::munmap(block.cast(), layout.size().next_multiple_of(4096));
            } else {
                System.dealloc(block, aligned(layout));
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: `size` is not zero and does not overflow with the alignment, by the trait's contract.
        let grown = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if is_huge(layout) || is_huge(grown) || mapping::contains(block) {
            // SAFETY: a new block, the common part copied, the old one given back.
            unsafe {
                let moved = self.alloc(grown);
                if !moved.is_null() {
                    moved.copy_from_nonoverlapping(block, size.min(layout.size()));
                    self.dealloc(block, layout);
                }
                return moved;
            }
        }
        if size > layout.size() && !book(size - layout.size()) {
            return null_mut();
        }
        // SAFETY: both sizes belong to the system's allocator, which can move a block of any alignment up to its own.
        let moved = unsafe { System.realloc(block, layout, size) };
        if moved.is_null() {
            release(size.saturating_sub(layout.size()));
            refuse(size as u64);
        } else if size < layout.size() {
            release(layout.size() - size);
        }
        moved
    }
}

/// The page at an address given by the embedding program, or nothing if it can't be one.
#[must_use]
pub fn page_at(address: usize) -> Option<*mut Counters> {
    (address != 0 && address.is_multiple_of(align_of::<Counters>())).then(|| with_exposed_provenance_mut(address))
}
