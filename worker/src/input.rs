//! Standard input of the commands that answer one question, read within a bound.

use std::io::Read;

use wire::{Code, Fault};

/// All of `from`, at most `limit` bytes.
///
/// # Errors
/// `TOO_LARGE` for more, `IO_ERROR` when it cannot be read.
pub fn read(from: impl Read, limit: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    from.take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| Fault::new(Code::Io, "standard input cannot be read").cause(error))?;
    if bytes.len() > limit {
        let message = format!("standard input is longer than {limit} bytes");
        return Err(Fault::new(Code::TooLarge, message));
    }
    Ok(bytes)
}
