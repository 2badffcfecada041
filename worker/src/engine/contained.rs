//! Calls into libraries that take some hostile files for defects of their own, and panic.

use std::panic::{self, AssertUnwindSafe};

/// What `call` returns; none when it panicked. Whatever a broken call has left half done must not
/// be used again: its file, text or rendering is refused.
pub(super) fn contained<T>(call: impl FnOnce() -> T) -> Option<T> {
    panic::catch_unwind(AssertUnwindSafe(call)).ok()
}
