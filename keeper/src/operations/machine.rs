//! A machine in words: what the probe saw of it.

use wire::text;

use crate::bootstrap::probe::{Ground, Libc, Place, Seen, Takes};
use crate::output::progress::bytes;

/// Bytes of a word that a machine says of itself.
const MAX_WORD_BYTES: usize = 256;

/// System and architecture.
pub fn system(seen: &Seen) -> String {
    text::one_line(&format!("{} {}", seen.system, seen.machine), MAX_WORD_BYTES)
}

/// The C library.
pub fn libc(seen: &Seen) -> String {
    match seen.libc {
        Libc::Gnu((major, minor)) => format!("glibc {major}.{minor}"),
        Libc::Musl => "musl".to_owned(),
        Libc::Unknown => "no glibc".to_owned(),
    }
}

/// The driver of NVIDIA's GPUs and what they are capable of, when there is one.
pub fn gpu(seen: &Seen) -> Option<String> {
    let driver = seen.driver.as_ref()?;
    let compute = seen.compute.join(", ");
    let compute = if compute.is_empty() { compute } else { format!(", compute {compute}") };
    Some(text::one_line(&format!("NVIDIA driver {driver}{compute}"), MAX_WORD_BYTES))
}

/// Why rbee lives where it does.
pub fn place(place: Place) -> &'static str {
    match place {
        Place::Home => "in the home directory",
        Place::Programs => "the home is noexec: programs are beside it",
        Place::Everything => "the home cannot be written: everything is beside it",
    }
}

/// What a directory takes.
pub fn takes(takes: Takes) -> &'static str {
    match takes {
        Takes::Programs => "takes programs",
        Takes::Files => "is mounted noexec",
        Takes::Full => "is full",
        Takes::Nothing => "cannot be written",
    }
}

/// Free bytes of a ground.
pub fn free_bytes(ground: &Ground) -> Option<u64> {
    ground.free_kib.map(|kib| kib.saturating_mul(1024))
}

/// Free space in words.
pub fn free(ground: &Ground) -> String {
    free_bytes(ground).map_or_else(|| "unknown".to_owned(), |free| format!("{} free", bytes(free)))
}
