//! Reading what may be longer than it should be.

use std::io::{self, Read};

/// All of `from`, if that is at most `limit` bytes; none, and no more than one byte beyond it, when
/// it is longer.
///
/// # Errors
/// When it cannot be read.
pub fn read(from: impl Read, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    from.take(most).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= limit).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_longer_than_its_bound_is_not_read_to_its_end() {
        assert_eq!(read(&b"abc"[..], 3).unwrap().unwrap(), b"abc");
        let mut endless = io::repeat(b'a').take(1000);
        assert_eq!(read(&mut endless, 3).unwrap(), None);
        assert_eq!(endless.limit(), 996);
    }
}
