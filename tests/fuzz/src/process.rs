//! What holds for a process that computes with a model's own words, in a fuzzer: panics of
//! libraries are contained, so only one that gets out is a finding; and its data has a limit, which
//! fails the call that wants more, where a worker's ends the worker.

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{self, AssertUnwindSafe};
use std::process;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes of data that one input may take: texts that double with each step reach any limit, and
/// this one soon.
const LIMIT: usize = 24 * 1024 * 1024;
/// Bytes of an allocation that are always given: what a panic needs to be told.
const SMALL: usize = 64 * 1024;

/// Where and why the last panic was, to be told if nothing contains it.
static LAST: Mutex<String> = Mutex::new(String::new());
static TAKEN: AtomicUsize = AtomicUsize::new(0);
/// What was taken when the input began: a library that panics may lose a little of it for good, and
/// the next inputs are not to blame.
static LOST: AtomicUsize = AtomicUsize::new(0);

struct Limited;

// SAFETY: all memory is the system's, with the layout that was asked for; a refusal is a null.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let size = layout.size();
        let taken = TAKEN.load(Relaxed).saturating_sub(LOST.load(Relaxed));
        if size > SMALL && taken.saturating_add(size) > LIMIT {
            return std::ptr::null_mut();
        }
        TAKEN.fetch_add(size, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        TAKEN.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Limited = Limited;

/// To be called once, behind libFuzzer's own hooks.
pub fn begin() {
    panic::set_hook(Box::new(|why| {
        if let Ok(mut last) = LAST.lock() {
            *last = why.to_string();
        }
    }));
    std::alloc::set_alloc_error_hook(|layout| panic!("no memory for {} bytes", layout.size()));
}

/// Runs a target.
pub fn run(target: fn(&[u8]), data: &[u8]) {
    LOST.store(TAKEN.load(Relaxed), Relaxed);
    if panic::catch_unwind(AssertUnwindSafe(|| target(data))).is_err() {
        eprintln!("{}", LAST.lock().map(|last| last.clone()).unwrap_or_default());
        process::abort();
    }
}
