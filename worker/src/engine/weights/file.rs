//! Files of a model: mapped while they are read.

use std::fs::File;
use std::path::Path;

use memmap2::{Advice, Mmap};
use wire::{Code, Fault, text};

/// Maps the file at `path`.
///
/// # Errors
/// `MODEL_NOT_FOUND` or `IO_ERROR` when it cannot be read.
pub(super) fn open(path: &Path) -> Result<Mmap, Fault> {
    // Opening a pipe would wait for its writer for ever.
    let metadata = std::fs::metadata(path).map_err(|error| cannot_read(path, &error))?;
    if !metadata.is_file() {
        let message = format!("{} is no file", path.display());
        return Err(Fault::new(Code::ModelNotFound, message).hint(look_at(path)));
    }
    let file = File::open(path).map_err(|error| cannot_read(path, &error))?;
    let map = map(&file).map_err(|error| cannot_read(path, &error))?;
    // Only a hint to the kernel: without it the load is slower.
    let _ = map.advise(Advice::Sequential);
    Ok(map)
}

fn look_at(path: &Path) -> String {
    format!("ls -l {}", text::shell_word(&path.to_string_lossy()))
}

fn cannot_read(path: &Path, error: &std::io::Error) -> Fault {
    let code =
        if error.kind() == std::io::ErrorKind::NotFound { Code::ModelNotFound } else { Code::Io };
    Fault::new(code, format!("the model {} cannot be read", path.display()))
        .cause(error)
        .hint(look_at(path))
}

#[expect(unsafe_code, reason = "the one mapping of weights; see the invariant below")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the mapping is read-only, private to this process, and lives only while `load` copies
    // the weights out of it, so no reference into it outlives that call. Whoever changes the file
    // in that time changes the numbers that are copied, never their count or their place, which the
    // header's copy fixes; whoever truncates it in that time ends this process by SIGBUS, and the
    // guard reports that.
    unsafe { Mmap::map(file) }
}
