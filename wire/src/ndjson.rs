//! Newline-delimited JSON with a bound on each line.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fault::{Code, Fault};
use crate::limits;

/// Cuts a stream of bytes into lines. Holds at most one line of the bound.
#[derive(Debug)]
pub struct LineBuffer {
    pending: Vec<u8>,
    max_bytes: usize,
}

impl Default for LineBuffer {
    fn default() -> Self {
        Self::with_limit(limits::MAX_MESSAGE_BYTES)
    }
}

impl LineBuffer {
    /// A buffer for lines of at most `max_bytes`, their newline not counted.
    pub fn with_limit(max_bytes: usize) -> Self {
        Self { pending: Vec::new(), max_bytes }
    }

    /// Takes bytes and hands every complete line to `on_line`, without its newline (LF or CR LF).
    ///
    /// # Errors
    /// `TOO_LARGE` when a line exceeds the bound, and whatever `on_line` returns; after an error
    /// the stream is unusable.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        mut on_line: impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        while let Some(end) = bytes.iter().position(|&b| b == b'\n') {
            let (line, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            self.check(line.len())?;
            if self.pending.is_empty() {
                on_line(strip_cr(line))?;
            } else {
                self.pending.extend_from_slice(line);
                on_line(strip_cr(&self.pending))?;
                self.pending.clear();
            }
        }
        self.check(bytes.len())?;
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether a line was begun and not ended.
    pub fn has_partial_line(&self) -> bool {
        !self.pending.is_empty()
    }

    fn check(&self, more: usize) -> Result<(), Fault> {
        if self.pending.len() + more > self.max_bytes {
            let message = format!("a line is longer than {} bytes", self.max_bytes);
            return Err(Fault::new(Code::TooLarge, message));
        }
        Ok(())
    }
}

fn strip_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Decodes NDJSON into values of one type; blank lines are skipped.
#[derive(Debug, Default)]
pub struct Decoder {
    lines: LineBuffer,
}

impl Decoder {
    /// Takes bytes and appends every complete value to `out`.
    ///
    /// # Errors
    /// `TOO_LARGE` for a line over the bound, `PROTOCOL_ERROR` for a line that is no such value.
    pub fn push<T: DeserializeOwned>(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<T>,
    ) -> Result<(), Fault> {
        self.lines.push(bytes, |line| {
            if !line.is_empty() {
                out.push(decode(line)?);
            }
            Ok(())
        })
    }
}

/// Decodes one JSON value.
///
/// # Errors
/// `PROTOCOL_ERROR` with the position of the mistake; the text itself is not repeated.
pub fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(json)
        .map_err(|error| Fault::new(Code::ProtocolError, format!("malformed message: {error}")))
}

/// Encodes one value as a line, its newline included.
///
/// # Errors
/// `INTERNAL` when the value cannot be JSON (a map key that is no string), `TOO_LARGE` when the
/// peer would have to refuse it.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Fault> {
    let mut line = serde_json::to_vec(value).map_err(|error| {
        Fault::new(Code::Internal, "a message could not be encoded").cause(error)
    })?;
    if line.len() > limits::MAX_MESSAGE_BYTES {
        return Err(Fault::new(Code::TooLarge, "a message is longer than its limit"));
    }
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(max: usize, chunks: &[&[u8]]) -> Result<Vec<Vec<u8>>, Fault> {
        let mut buffer = LineBuffer::with_limit(max);
        let mut out = Vec::new();
        for chunk in chunks {
            buffer.push(chunk, |line| {
                out.push(line.to_vec());
                Ok(())
            })?;
        }
        Ok(out)
    }

    #[test]
    fn refuses_a_line_longer_than_the_limit_before_its_end_comes() {
        assert!(lines(4, &[b"abcde"]).is_err());
        assert!(lines(4, &[b"abc", b"de"]).is_err());
        assert_eq!(lines(4, &[b"abcd", b"\n"]).unwrap(), [b"abcd".to_vec()]);
    }

    #[test]
    fn a_malformed_line_names_the_position_and_not_the_text() {
        let fault = Decoder::default().push::<u32>(b"secret\n", &mut Vec::new()).unwrap_err();
        assert_eq!(fault.code, Code::ProtocolError);
        assert!(fault.message.contains("line 1 column 1") && !fault.message.contains("secret"));
    }

    proptest! {
        #[test]
        fn cutting_the_stream_anywhere_changes_nothing(
            values in proptest::collection::vec(any::<i64>(), 0..20),
            cut in 1usize..9,
        ) {
            let bytes: Vec<u8> = values.iter().flat_map(|v| encode(v).unwrap()).collect();
            let mut decoder = Decoder::default();
            let mut out: Vec<i64> = Vec::new();
            for chunk in bytes.chunks(cut) {
                decoder.push(chunk, &mut out).unwrap();
            }
            prop_assert_eq!(out, values);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Decoder::default().push::<crate::event::Event>(&bytes, &mut Vec::new());
        }
    }
}
