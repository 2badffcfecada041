//! Standard input of the commands that answer one question, read within a bound.

use std::io::Read;

use wire::{Code, Fault};

/// All of `from`, at most `limit` bytes.
///
/// # Errors
/// `TOO_LARGE` for more, `IO_ERROR` when it cannot be read.
pub fn read(from: impl Read, limit: usize) -> Result<Vec<u8>, Fault> {
    let read = wire::bounded::read(from, limit)
        .map_err(|error| Fault::new(Code::Io, "standard input cannot be read").cause(error))?;
    read.ok_or_else(|| {
        let message = format!("standard input is longer than {limit} bytes");
        Fault::new(Code::TooLarge, message)
    })
}
