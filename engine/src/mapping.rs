//! Files in memory, read only, and vectors that live in them without being copied.
//!
//! The engine's allocator owns what is mapped here: it never frees inside a mapped range, so a `Vec` made over one is
//! sound and costs nothing, and a tensor made of it lives in the page cache: not in RLIMIT_DATA, not copied at a fork.
//! Promises that a range stays mapped as long as its `MappedFile`; whoever holds vectors of it must drop them first.
//! If another program cuts the file short while it is mapped, reading beyond the new end raises SIGBUS; this kills the
//! worker that reads, and only that one. Replace model files by renaming, never by writing into them.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Files that can be mapped at one time; a process serves one model, of at most a few files.
const PLACES: usize = 64;

struct Place {
    start: AtomicUsize,
    end: AtomicUsize,
}

static RANGES: [Place; PLACES] = [const { Place { start: AtomicUsize::new(0), end: AtomicUsize::new(0) } }; PLACES];
/// One past the last place ever taken: releasing a block compares with as few ranges as there are.
static USED: AtomicUsize = AtomicUsize::new(0);

/// Whether an address lies in a mapped file.
pub fn contains(block: *const u8) -> bool {
    let address = block.addr();
    let used = USED.load(Relaxed);
    used > 0
        && RANGES[..used].iter().any(|range| range.start.load(Relaxed) <= address && address < range.end.load(Relaxed))
}

/// A file mapped read-only.
pub struct MappedFile {
    start: *const u8,
    len: usize,
    place: usize,
}

// SAFETY: the mapping is read only and never moves.
unsafe impl Send for MappedFile {}
// SAFETY: as above.
unsafe impl Sync for MappedFile {}

impl MappedFile {
    /// Maps a whole file.
    ///
    /// # Errors
    /// What the system says, or `OutOfMemory` when too many files are mapped.
    pub fn open(file: &File) -> std::io::Result<Self> {
        let len = usize::try_from(file.metadata()?.len()).map_err(std::io::Error::other)?;
        if len == 0 {
            return Ok(Self { start: std::ptr::dangling(), len: 0, place: PLACES });
        }
        // SAFETY: a new read-only mapping; the result is checked.
        let start = unsafe { libc::mmap(null_mut(), len, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        let address = start.addr();
        for (place, range) in RANGES.iter().enumerate() {
            if range.start.compare_exchange(0, address, Relaxed, Relaxed).is_ok() {
                range.end.store(address + len, Relaxed);
                USED.fetch_max(place + 1, Relaxed);
                return Ok(Self { start: start.cast(), len, place });
            }
        }
        // SAFETY: the mapping made above, of which nothing has been handed out.
        unsafe { libc::munmap(start, len) };
        Err(std::io::Error::new(std::io::ErrorKind::OutOfMemory, "too many files are mapped"))
    }

    /// The bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: mapped for `len` bytes as long as self; the module's comment says what a change of the file means.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    /// The floats in `range` of the file, in place; nothing if the range is not within the file or not aligned.
    ///
    /// # Safety
    /// The vector must be dropped before self and must not be written to (the pages are read only).
    #[must_use]
    pub unsafe fn floats(&self, start: usize, end: usize) -> Option<Vec<f32>> {
        let bytes = self.bytes().get(start..end)?;
        if bytes.is_empty()
            || !bytes.len().is_multiple_of(4)
            || !bytes.as_ptr().addr().is_multiple_of(align_of::<f32>())
        {
            return None;
        }
        // SAFETY: valid, aligned floats whose memory the global allocator owns: it treats the release as nothing.
        Some(unsafe { Vec::from_raw_parts(bytes.as_ptr().cast_mut().cast(), bytes.len() / 4, bytes.len() / 4) })
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        if let Some(range) = RANGES.get(self.place) {
            range.end.store(0, Relaxed);
            range.start.store(0, Relaxed);
            // SAFETY: the mapping made in `open`; all vectors over it are gone, by `floats`' contract.
            unsafe { libc::munmap(self.start.cast_mut().cast(), self.len) };
        }
    }
}
