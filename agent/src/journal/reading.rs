//! What an answer's own stream says of it: how many tokens, why it ended, its times. Its text is
//! passed over.

use wire::fault::ErrorEnvelope;
use wire::generate::{Chunk, FinishReason, GenerationTimings, Usage};
use wire::{Code, Fault};

/// Bytes of a line that are looked at; a last event has some hundred.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// The figures of one answer, as far as it came.
#[derive(Debug, Default)]
pub struct Reading {
    line: Vec<u8>,
    /// Events that carried a part of the answer.
    pub parts: u32,
    /// Tokens, once the worker said how many; with the first token it says them as far as it knows.
    pub usage: Option<Usage>,
    /// The worker's own times, once it said them.
    pub timings: Option<GenerationTimings>,
    /// Why it ended, once it has.
    pub finish_reason: Option<FinishReason>,
    /// What the worker said when it failed.
    pub fault: Option<Fault>,
}

impl Reading {
    /// Takes the stream's next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = lines.next() {
            let room = MAX_LINE_BYTES.saturating_sub(self.line.len());
            self.line.extend(part.iter().take(room));
            if lines.peek().is_some() {
                self.end_line();
                self.line.clear();
            }
        }
    }

    fn end_line(&mut self) {
        let Some(json) = self.line.strip_prefix(b"data: ") else { return };
        if json.starts_with(b"{\"error\"") {
            let error = serde_json::from_slice::<ErrorEnvelope>(json);
            let unreadable =
                |_| Fault::new(Code::ProtocolError, "the worker's fault is unreadable");
            self.fault = Some(error.map_or_else(unreadable, |envelope| envelope.error));
            return;
        }
        let has = |word: &[u8]| json.windows(word.len()).any(|part| part == word);
        let is_last = has(b"\"usage\":{") || has(b"\"finish_reason\":\"");
        if is_last && let Ok(chunk) = serde_json::from_slice::<Chunk>(json) {
            return self.last(&chunk);
        }
        self.parts = self.parts.saturating_add(u32::from(has(b"\"choices\":[{")));
    }

    fn last(&mut self, chunk: &Chunk) {
        self.usage = chunk.usage.or(self.usage);
        self.timings = chunk.timings.or(self.timings);
        if let Some(choice) = chunk.choices.first() {
            self.finish_reason = choice.finish_reason.or(self.finish_reason);
            let tokens = u32::try_from(choice.token_ids.len()).unwrap_or(u32::MAX);
            self.parts = self.parts.saturating_add(tokens);
        }
    }

    /// Tokens of the answer: as the worker says when it is over, else one for each part that came.
    pub fn completion_tokens(&self) -> u32 {
        let usage = self.usage.filter(|_| self.finish_reason.is_some());
        usage.map_or(self.parts, |usage| usage.completion_tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wire::generate::{Choice, Delta};
    use wire::sse;

    fn token(text: &str) -> Vec<u8> {
        let delta = Delta { content: text.to_owned(), ..Delta::default() };
        let choice = Choice { delta, token_ids: vec![7], ..Choice::default() };
        sse::encode(&chunk(choice)).unwrap()
    }

    fn chunk(choice: Choice) -> Chunk {
        let (id, object) = (String::new(), String::new());
        Chunk { id, object, choices: vec![choice], usage: None, timings: None }
    }

    fn read(bytes: &[u8], cut: usize) -> Reading {
        let mut reading = Reading::default();
        bytes.chunks(cut).for_each(|part| reading.push(part));
        reading
    }

    proptest! {
        #[test]
        fn figures_are_found_however_the_stream_is_cut_and_whatever_the_text_says(
            texts in proptest::collection::vec("\\PC{0,9}|\"usage\":\\{|data: \\{\n", 0..9),
            cut in 1usize..40,
        ) {
            let known = Usage { prompt_tokens: 3, completion_tokens: 1, ..Usage::default() };
            let first = Choice { token_ids: vec![7], ..Choice::default() };
            let first = Chunk { usage: Some(known), ..chunk(first) };
            let mut bytes = sse::encode(&first).unwrap();
            bytes.extend(texts.iter().flat_map(|text| token(text)));
            let so_far = read(&bytes, cut);
            prop_assert_eq!(so_far.completion_tokens() as usize, texts.len() + 1);
            prop_assert_eq!(so_far.usage, Some(known));
            prop_assert_eq!(so_far.finish_reason, None);
            let usage = Usage { prompt_tokens: 3, completion_tokens: 99, ..Usage::default() };
            let choice = Choice { finish_reason: Some(FinishReason::Stop), ..Choice::default() };
            let last = Chunk { usage: Some(usage), ..chunk(choice) };
            bytes.extend(b": a comment\n\n");
            bytes.extend(sse::encode(&last).unwrap());
            bytes.extend(sse::encode_done());
            let whole = read(&bytes, cut);
            prop_assert_eq!(whole.usage, Some(usage));
            prop_assert_eq!(whole.completion_tokens(), 99);
            prop_assert_eq!(whole.finish_reason, Some(FinishReason::Stop));
        }

        #[test]
        fn no_bytes_panic_or_pile_up(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut reading = read(&bytes, 7);
            reading.push(&vec![b'x'; 2 * MAX_LINE_BYTES]);
            prop_assert!(reading.line.len() <= MAX_LINE_BYTES);
        }
    }
}
