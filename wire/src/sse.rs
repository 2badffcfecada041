//! Server-sent events (WHATWG HTML, section 9.2), as far as generation uses them: `data` lines.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fault::{ErrorEnvelope, Fault};
use crate::limits;
use crate::ndjson::{self, LineBuffer};

/// What ends OpenAI's streams.
const DONE: &[u8] = b"[DONE]";

/// One thing that a generation stream said.
#[derive(Debug, Clone, PartialEq)]
pub enum Item<T> {
    /// A value.
    Value(T),
    /// The stream's last word when it failed.
    Error(Fault),
    /// The stream's last word when it did not.
    Done,
}

/// Decodes a generation stream. Holds at most one event of the bound.
#[derive(Debug, Default)]
pub struct Decoder {
    lines: LineBuffer,
    data: Vec<u8>,
    has_data: bool,
}

impl Decoder {
    /// Takes bytes and appends every complete event to `out`. Comments and other fields are
    /// skipped, several `data` lines are joined by newlines.
    ///
    /// # Errors
    /// `TOO_LARGE` for an event over the bound, `PROTOCOL_ERROR` for data that is no such value.
    pub fn push<T: DeserializeOwned>(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<Item<T>>,
    ) -> Result<(), Fault> {
        let (data, has_data) = (&mut self.data, &mut self.has_data);
        self.lines.push(bytes, |line| {
            if line.is_empty() {
                if std::mem::take(has_data) {
                    out.push(item(data)?);
                }
                data.clear();
                return Ok(());
            }
            let Some(value) = line.strip_prefix(b"data:") else { return Ok(()) };
            let value = value.strip_prefix(b" ").unwrap_or(value);
            if std::mem::replace(has_data, true) {
                data.push(b'\n');
            }
            if data.len() + value.len() > limits::MAX_MESSAGE_BYTES {
                return Err(Fault::new(crate::Code::TooLarge, "an event is longer than its limit"));
            }
            data.extend_from_slice(value);
            Ok(())
        })
    }
}

fn item<T: DeserializeOwned>(data: &[u8]) -> Result<Item<T>, Fault> {
    if data == DONE {
        return Ok(Item::Done);
    }
    // An error is told apart by its one key, before the value's own type is tried: a tolerant
    // reader would take `{"error":…}` for a value whose fields are all absent.
    if data.starts_with(b"{\"error\"") {
        return Ok(Item::Error(ndjson::decode::<ErrorEnvelope>(data)?.error));
    }
    Ok(Item::Value(ndjson::decode(data)?))
}

/// Encodes one value as an event.
///
/// # Errors
/// As [`ndjson::encode`].
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Fault> {
    let mut event = b"data: ".to_vec();
    event.extend_from_slice(&ndjson::encode(value)?);
    event.push(b'\n');
    Ok(event)
}

/// The event that ends a stream that went well.
pub fn encode_done() -> Vec<u8> {
    b"data: [DONE]\n\n".to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;
    use proptest::prelude::*;

    fn decode(chunks: &[&[u8]]) -> Result<Vec<Item<serde_json::Value>>, Fault> {
        let mut decoder = Decoder::default();
        let mut out = Vec::new();
        for chunk in chunks {
            decoder.push(chunk, &mut out)?;
        }
        Ok(out)
    }

    #[test]
    fn reads_values_errors_comments_and_the_end() {
        let fault = ErrorEnvelope { error: Fault::new(Code::Stalled, "no token") };
        let mut bytes = b": hello\r\n\r\nevent: x\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\n".to_vec();
        bytes.extend(encode(&fault).unwrap());
        bytes.extend(encode_done());
        let items = decode(&[&bytes]).unwrap();
        assert_eq!(
            items,
            [Item::Value(serde_json::json!({"a": 1})), Item::Error(fault.error), Item::Done]
        );
    }

    #[test]
    fn an_unended_event_is_not_an_event() {
        assert_eq!(decode(&[b"data: 1\n"]).unwrap(), []);
        assert!(decode(&[b"data: nope\n\n"]).is_err());
    }

    #[test]
    fn many_data_lines_are_bounded_together() {
        let line = format!("data: {}\n", "x".repeat(1000));
        let chunks = vec![line.as_bytes(); limits::MAX_MESSAGE_BYTES / 1000 + 2];
        assert_eq!(decode(&chunks).unwrap_err().code, Code::TooLarge);
    }

    proptest! {
        #[test]
        fn cutting_the_stream_anywhere_changes_nothing(
            texts in proptest::collection::vec("\\PC{0,12}", 0..12), cut in 1usize..9,
        ) {
            let mut bytes: Vec<u8> = texts.iter().flat_map(|t| encode(t).unwrap()).collect();
            bytes.extend(encode_done());
            let mut decoder = Decoder::default();
            let mut out = Vec::new();
            for chunk in bytes.chunks(cut) {
                decoder.push::<String>(chunk, &mut out).unwrap();
            }
            let mut expected: Vec<_> = texts.into_iter().map(Item::Value).collect();
            expected.push(Item::Done);
            prop_assert_eq!(out, expected);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Decoder::default().push::<serde_json::Value>(&bytes, &mut Vec::new());
        }
    }
}
