//! Global allocator that counts the allocations of each thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// System allocator with counters, for the `#[global_allocator]` of a benchmark.
#[derive(Debug)]
pub struct Counting;

/// Allocations of a thread since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocated {
    /// Number of allocations.
    pub times: u64,
    /// Allocated bytes.
    pub bytes: u64,
    /// Allocated bytes minus freed bytes.
    pub live: i64,
}

thread_local! {
    static ALLOCATED: Cell<Allocated> = const { Cell::new(Allocated { times: 0, bytes: 0, live: 0 }) };
}

/// Returns the counters of this thread.
pub fn allocated() -> Allocated {
    ALLOCATED.get()
}

impl std::ops::Sub for Allocated {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            times: self.times - before.times,
            bytes: self.bytes - before.bytes,
            live: self.live - before.live,
        }
    }
}

fn count(times: u64, bytes: usize, freed: usize) {
    // An exiting thread allocates and frees after its thread-locals are destroyed.
    let _ = ALLOCATED.try_with(|allocated| {
        let mut now = allocated.get();
        now.times += times;
        now.bytes += bytes as u64;
        now.live += bytes as i64 - freed as i64;
        allocated.set(now);
    });
}

// SAFETY: every call is forwarded unchanged to the system allocator. Counting does not
// allocate, because the thread-local has no lazy initializer and no destructor.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size(), 0);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size(), 0);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size, layout.size());
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(0, 0, layout.size());
        unsafe { System.dealloc(at, layout) }
    }
}

/// Returns the resident memory of the process in bytes, or 0 if unknown.
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
