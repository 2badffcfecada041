//! The conversation as rows: what is scrolled.

use std::time::Duration;

use wire::text::one_line;
use wire::worker::WorkerState;
use wire::{Fault, limits};

use super::chat::{Chat, Phase, Turn};
use super::event::AskId;
use super::markdown::Flow;
use super::rows::{Kind, Row, Span, wrap};
use crate::last_words;
use crate::output::clock::span;
use crate::output::progress::bytes;

/// Bytes of a model's name.
const MAX_NAME_BYTES: usize = 64;

/// Where the reader is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scroll {
    /// At the end, and stays there while more comes.
    #[default]
    End,
    /// With this row at the top, whatever comes.
    Row(usize),
}

/// The rows of a conversation for one width, and which of them are seen.
#[derive(Debug, Default)]
pub struct Transcript {
    /// Those of the turns that are over.
    rows: Vec<Row>,
    /// These turns, and the row behind each of them.
    settled: Vec<(AskId, usize)>,
    /// The turn behind them.
    open: Open,
    width: usize,
    height: usize,
    scroll: Scroll,
}

/// A turn that goes on: the rows of its answer grow.
#[derive(Debug, Default)]
struct Open {
    id: AskId,
    /// What stands above the answer, and of what it was made.
    head: Vec<Row>,
    made_of: Option<(bool, usize, bool)>,
    answer: Vec<Row>,
    flow: Flow,
    /// Bytes of the answer that are laid out.
    bytes: usize,
    /// What stands below the answer.
    tail: Vec<Row>,
}

impl Open {
    /// Lays out what is new of a turn.
    fn lay_out(&mut self, turn: &Turn, width: usize, reasoning: bool) {
        let text = turn.answer.trim_end();
        if self.id != turn.id || text.len() < self.bytes {
            *self = Self { id: turn.id, ..Self::default() };
        }
        let made_of = Some((turn.place.is_some(), turn.reasoning.len(), reasoning));
        if self.made_of != made_of {
            self.made_of = made_of;
            self.head = head_of(turn, width, reasoning);
        }
        if self.bytes < text.len() {
            self.flow.lay_out(text, width, &mut self.answer);
            self.bytes = text.len();
        }
        self.tail = of_phase(turn, width);
        self.tail.push(Row::new());
    }
}

impl Transcript {
    /// Lays the conversation out for `width` columns of which `height` rows are seen. Turns that
    /// are over are laid out once, and of the one that goes on what is new.
    pub fn lay_out(&mut self, chat: &Chat, width: usize, height: usize) {
        let known = self.settled.iter().map(|(id, _)| *id);
        let is_other = self.settled.len() > chat.turns.len()
            || known.zip(&chat.turns).any(|(id, turn)| id != turn.id || turn.goes_on());
        if self.width != width || is_other {
            self.forget();
        }
        (self.width, self.height) = (width, height);
        for turn in chat.turns.iter().skip(self.settled.len()) {
            self.open.lay_out(turn, width, chat.reasoning);
            if turn.goes_on() {
                break;
            }
            let Open { head, answer, tail, .. } = std::mem::take(&mut self.open);
            self.rows.extend([head, answer, tail].into_iter().flatten());
            self.settled.push((turn.id, self.rows.len()));
        }
        if let Scroll::Row(row) = self.scroll
            && row >= self.last_top()
        {
            self.scroll = Scroll::End;
        }
    }

    /// Lays everything out again next time.
    pub fn forget(&mut self) {
        self.settled.clear();
        self.rows.clear();
        self.open = Open::default();
    }

    fn count(&self) -> usize {
        let Open { head, answer, tail, .. } = &self.open;
        self.rows.len() + head.len() + answer.len() + tail.len()
    }

    fn last_top(&self) -> usize {
        self.count().saturating_sub(self.height)
    }

    fn top(&self) -> usize {
        match self.scroll {
            Scroll::End => self.last_top(),
            Scroll::Row(row) => row.min(self.last_top()),
        }
    }

    /// The rows that are seen.
    pub fn seen(&self) -> impl Iterator<Item = &Row> {
        let Open { head, answer, tail, .. } = &self.open;
        let rows = self.rows.iter().chain(head).chain(answer).chain(tail);
        rows.skip(self.top()).take(self.height)
    }

    /// Rows below those that are seen.
    pub fn below(&self) -> usize {
        self.last_top().saturating_sub(self.top())
    }

    /// Goes up (negative) or down some rows.
    pub fn scroll_by(&mut self, rows: isize) {
        self.scroll = Scroll::Row(self.top().saturating_add_signed(rows));
        if self.top() >= self.last_top() {
            self.scroll = Scroll::End;
        }
    }

    /// Goes up or down a page, with one row that was seen before.
    pub fn scroll_pages(&mut self, pages: isize) {
        let page = isize::try_from(self.height.saturating_sub(1).max(1)).unwrap_or(1);
        self.scroll_by(page.saturating_mul(pages));
    }

    /// Goes to the first row of a turn.
    pub fn scroll_to(&mut self, id: AskId) {
        if let Some(row) = self.begin_of(id) {
            self.scroll = if row >= self.last_top() { Scroll::End } else { Scroll::Row(row) };
        }
    }

    fn begin_of(&self, id: AskId) -> Option<usize> {
        let at = self.settled.iter().position(|(settled, _)| *settled == id);
        match at {
            Some(0) => Some(0),
            Some(at) => self.settled.get(at - 1).map(|(_, end)| *end),
            None => (self.open.id == id).then_some(self.rows.len()),
        }
    }

    /// Which of the rows that are seen is the first one of a turn.
    pub fn place_of(&self, id: AskId) -> Option<usize> {
        self.begin_of(id)?.checked_sub(self.top()).filter(|row| *row < self.height)
    }

    /// Goes to the beginning.
    pub fn scroll_to_top(&mut self) {
        self.scroll = if self.last_top() == 0 { Scroll::End } else { Scroll::Row(0) };
    }

    /// Goes to the end.
    pub fn scroll_to_end(&mut self) {
        self.scroll = Scroll::End;
    }
}

/// What stands above an answer.
fn head_of(turn: &Turn, width: usize, reasoning: bool) -> Vec<Row> {
    let mut rows = vec![vec![Span::new("you", Kind::Person)]];
    rows.extend(wrap(&[Span::new(&turn.question, Kind::Text)], width, ""));
    rows.push(Row::new());
    let model = one_line(&turn.model.to_string(), MAX_NAME_BYTES);
    let mut head = vec![Span::new(model, Kind::Model)];
    if let Some(place) = &turn.place {
        head.push(Span::new(format!(" on {} {}", place.hive, place.device), Kind::Muted));
    }
    rows.extend(wrap(&head, width, "  "));
    if !turn.reasoning.is_empty() {
        rows.extend(of_reasoning(turn, width, reasoning));
    }
    rows
}

fn of_reasoning(turn: &Turn, width: usize, shown: bool) -> Vec<Row> {
    let text = turn.reasoning.trim();
    if shown {
        return wrap(&[Span::new(format!("reasoning: {text}"), Kind::Muted)], width, "  ");
    }
    let words = text.split_whitespace().count();
    let line = format!("reasoned in {words} words (Ctrl-T shows them)");
    wrap(&[Span::new(line, Kind::Muted)], width, "  ")
}

fn of_phase(turn: &Turn, width: usize) -> Vec<Row> {
    let muted = |text: &str| wrap(&[Span::new(text, Kind::Muted)], width, "  ");
    match &turn.phase {
        Phase::Placing => muted("looking for a worker…"),
        Phase::Waiting(worker) => muted(&loading(&worker.state)),
        Phase::Pulling(line) => muted(line),
        Phase::Retrying(pause) => {
            muted(&format!("all slots are taken; again in {} s", pause.as_secs()))
        }
        Phase::Queued(0) => muted("waiting for a slot, next in turn…"),
        Phase::Queued(ahead) => muted(&format!("waiting for a slot, {ahead} before this one…")),
        Phase::Coming if turn.tokens == 0 => muted("reading the prompt…"),
        Phase::Coming => Vec::new(),
        Phase::Cancelling => muted("cancelling…"),
        Phase::Done(_) if turn.is_cut() => {
            let text = "the answer ends here: the context is full, or its limit was reached";
            let mut rows = wrap(&[Span::new(text, Kind::Warning)], width, "  ");
            rows.extend(muted(&figures(turn)));
            rows
        }
        Phase::Done(_) => muted(&figures(turn)),
        Phase::Cancelled => wrap(&[Span::new("cancelled", Kind::Warning)], width, "  "),
        Phase::Failed(fault) => of_fault(fault, width),
        Phase::Left => {
            let text = "it was left before it was complete";
            wrap(&[Span::new(text, Kind::Warning)], width, "  ")
        }
    }
}

/// How far a worker is, for a person.
pub fn loading(state: &WorkerState) -> String {
    match state {
        WorkerState::Loading { bytes_done, bytes_total } if *bytes_total > 0 => {
            let done = bytes_done.min(bytes_total);
            let percent = done.saturating_mul(100).checked_div(*bytes_total).unwrap_or(0);
            format!("loading {percent} %, {} of {}", bytes(*done), bytes(*bytes_total))
        }
        other => format!("{}…", other.name()),
    }
}

/// One line about a complete answer.
fn figures(turn: &Turn) -> String {
    let mut parts = Vec::new();
    parts.push(format!("{} tokens", turn.count()));
    if let Some(rate) = turn.rate() {
        parts.push(format!("{rate:.1} tokens/s"));
    }
    if let Some(first) = turn.first_token() {
        parts.push(format!("first after {}", short(first)));
    }
    parts.join(" · ")
}

/// A time, for a person.
pub fn short(time: Duration) -> String {
    span(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// A fault as it is shown everywhere: what, why, what to do.
pub fn of_fault(fault: &Fault, width: usize) -> Vec<Row> {
    let line = |text: &str| one_line(text, limits::MAX_FAULT_MESSAGE_BYTES);
    let mut rows = wrap(
        &[Span::new("error: ", Kind::Error), Span::new(line(&fault.message), Kind::Text)],
        width,
        "  ",
    );
    for cause in fault.causes.iter().filter_map(|cause| last_words::readable(cause)) {
        rows.extend(wrap(&[Span::new(format!("  {}", line(&cause)), Kind::Muted)], width, "  "));
    }
    for hint in &fault.hints {
        let spans = [Span::new("hint: ", Kind::Hint), Span::new(line(hint), Kind::Text)];
        rows.extend(wrap(&spans, width, "  "));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::chat::Partner;
    use crate::tui::event::{News, Piece};
    use proptest::prelude::*;
    use wire::ModelRef;

    fn asked() -> Chat {
        let mut chat = Chat::with(Some(Partner { model: ModelRef::Demo, hive: None }));
        chat.ask(1, "what".to_owned(), Duration::ZERO).unwrap();
        chat
    }

    fn more(chat: &mut Chat, text: &str) {
        let piece = Piece { answer: text.to_owned(), reasoning: String::new(), tokens: 1 };
        chat.take(1, News::Piece(piece), Duration::from_millis(5));
    }

    fn seen(transcript: &Transcript) -> Vec<Row> {
        transcript.seen().cloned().collect()
    }

    /// Text in which later lines do not change what earlier blocks are.
    fn line() -> impl Strategy<Value = String> {
        "(- |# |1\\. |> )?[a-z]{1,9}( [a-z]{1,9}){0,9}\n\n?|```(rust)?\n".boxed()
    }

    proptest! {
        #[test]
        fn new_text_never_moves_what_a_reader_reads(
            before in prop::collection::vec(line(), 30..60),
            after in prop::collection::vec(line(), 1..30),
            up in 1..30_isize, width in 24..60_usize,
        ) {
            let (mut chat, mut transcript) = (asked(), Transcript::default());
            more(&mut chat, &before.concat());
            // The line that is being written may still become something else.
            more(&mut chat, "\n\n");
            transcript.lay_out(&chat, width, 12);
            transcript.scroll_by(-(up + 16));
            prop_assume!(transcript.below() > 0);
            let read = seen(&transcript);
            for text in after {
                more(&mut chat, &text);
                transcript.lay_out(&chat, width, 12);
                prop_assert_eq!(&seen(&transcript), &read);
            }
            chat.take(1, News::Ended(Err(None)), Duration::from_millis(9));
            transcript.lay_out(&chat, width, 12);
            prop_assert_eq!(&seen(&transcript), &read);
        }

        #[test]
        fn what_came_in_pieces_looks_as_what_came_at_once(
            lines in prop::collection::vec(line(), 1..30), width in 24..60_usize,
        ) {
            let (mut chat, mut grown) = (asked(), Transcript::default());
            for text in &lines {
                more(&mut chat, text);
                grown.lay_out(&chat, width, 500);
            }
            let mut once = Transcript::default();
            once.lay_out(&chat, width, 500);
            prop_assert_eq!(seen(&grown), seen(&once));
        }
    }
}
