//! A reader over the first bytes of a file that checks every length before it is believed.

use super::error::GgufError;
use crate::limits;

/// Reads a prefix from its start, knowing how long the whole file is.
pub(super) struct Cursor<'a> {
    prefix: &'a [u8],
    at: usize,
    file_bytes: u64,
}

/// A length in memory as a length in a file.
pub(super) fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A little-endian number of at most eight bytes.
pub(super) fn unsigned(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

impl<'a> Cursor<'a> {
    /// A cursor at the start. Bytes of the prefix behind the file's end are not looked at.
    pub fn new(prefix: &'a [u8], file_bytes: u64) -> Self {
        let inside = usize::try_from(file_bytes).unwrap_or(usize::MAX).min(prefix.len());
        Self { prefix: prefix.get(..inside).unwrap_or_default(), at: 0, file_bytes }
    }

    /// Bytes read so far.
    pub fn at(&self) -> u64 {
        wide(self.at)
    }

    /// Checks that `bytes` more can be there, without reading them, so that a caller may allocate
    /// in proportion.
    ///
    /// # Errors
    /// `Truncated`, `TooLong` for the header as a whole, or `NeedMore`.
    pub fn expect(&self, bytes: u64, what: &'static str) -> Result<(), GgufError> {
        let at = self.at();
        let end = at.saturating_add(bytes);
        if end > self.file_bytes {
            return Err(GgufError::Truncated { what, at });
        }
        if end > limits::MAX_GGUF_HEADER_BYTES {
            let limit = limits::MAX_GGUF_HEADER_BYTES;
            return Err(GgufError::TooLong { what: "header", at: 0, bytes: end, limit });
        }
        if end > wide(self.prefix.len()) {
            return Err(GgufError::NeedMore { at_least: end });
        }
        Ok(())
    }

    /// The next `bytes` bytes, borrowed.
    ///
    /// # Errors
    /// As [`Self::expect`].
    pub fn take(&mut self, bytes: u64, what: &'static str) -> Result<&'a [u8], GgufError> {
        self.expect(bytes, what)?;
        let rest = self.prefix.get(self.at..).unwrap_or_default();
        let taken = usize::try_from(bytes).ok().and_then(|length| rest.get(..length));
        let taken = taken.ok_or(GgufError::Truncated { what, at: self.at() })?;
        self.at += taken.len();
        Ok(taken)
    }

    /// A 32-bit number.
    ///
    /// # Errors
    /// As [`Self::expect`].
    pub fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        let number = unsigned(self.take(4, what)?);
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// A 64-bit number.
    ///
    /// # Errors
    /// As [`Self::expect`].
    pub fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        Ok(unsigned(self.take(8, what)?))
    }

    /// A text with its length in front, borrowed.
    ///
    /// # Errors
    /// As [`Self::expect`], `TooLong` over `limit`, `BadText` when it is not UTF-8.
    pub fn text(&mut self, what: &'static str, limit: u64) -> Result<&'a str, GgufError> {
        let at = self.at();
        let bytes = self.u64(what)?;
        if bytes > limit {
            return Err(GgufError::TooLong { what, at, bytes, limit });
        }
        let taken = self.take(bytes, what)?;
        std::str::from_utf8(taken).map_err(|_| GgufError::BadText { what, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_over_its_limit_is_refused_although_the_file_is_longer() {
        let cursor = Cursor::new(b"GGUF", 1 << 40);
        let limit = limits::MAX_GGUF_HEADER_BYTES;
        assert_eq!(cursor.expect(limit, "x"), Err(GgufError::NeedMore { at_least: limit }));
        let bytes = limit + 1;
        let over = GgufError::TooLong { what: "header", at: 0, bytes, limit };
        assert_eq!(cursor.expect(bytes, "x"), Err(over));
    }

    #[test]
    fn no_length_wraps_around() {
        let mut cursor = Cursor::new(b"GGUF", 4);
        cursor.take(2, "x").unwrap();
        assert_eq!(cursor.expect(u64::MAX, "x"), Err(GgufError::Truncated { what: "x", at: 2 }));
        assert_eq!(cursor.take(2, "x"), Ok(&b"UF"[..]));
    }

    #[test]
    fn bytes_behind_the_end_of_the_file_are_not_read() {
        let mut cursor = Cursor::new(b"GGUF and more", 4);
        assert_eq!(cursor.take(4, "x"), Ok(&b"GGUF"[..]));
        assert_eq!(cursor.take(1, "x"), Err(GgufError::Truncated { what: "x", at: 4 }));
    }
}
