//! The conversation as rows: what is scrolled.

use std::time::Duration;

use wire::text::one_line;
use wire::worker::WorkerState;
use wire::{Fault, limits};

use super::chat::{Chat, Phase, Turn};
use super::markdown;
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
    rows: Vec<Row>,
    width: usize,
    height: usize,
    scroll: Scroll,
    /// Turns whose rows will not change, and how many rows those are.
    settled: (usize, usize),
}

impl Transcript {
    /// Lays the conversation out for `width` columns of which `height` rows are seen. Turns that
    /// are over are laid out once.
    pub fn lay_out(&mut self, chat: &Chat, width: usize, height: usize) {
        if self.width != width || self.settled.0 > chat.turns.len() {
            self.forget();
        }
        (self.width, self.height) = (width, height);
        let (turns, rows) = self.settled;
        self.rows.truncate(rows);
        for (index, turn) in chat.turns.iter().enumerate().skip(turns) {
            self.rows.extend(of_turn(turn, width, chat.reasoning));
            if !turn.goes_on() && self.settled.0 == index {
                self.settled = (index + 1, self.rows.len());
            }
        }
        if let Scroll::Row(row) = self.scroll
            && row >= self.last_top()
        {
            self.scroll = Scroll::End;
        }
    }

    /// Lays everything out again next time.
    pub fn forget(&mut self) {
        self.settled = (0, 0);
        self.rows.clear();
    }

    fn last_top(&self) -> usize {
        self.rows.len().saturating_sub(self.height)
    }

    fn top(&self) -> usize {
        match self.scroll {
            Scroll::End => self.last_top(),
            Scroll::Row(row) => row.min(self.last_top()),
        }
    }

    /// The rows that are seen.
    pub fn seen(&self) -> &[Row] {
        let top = self.top();
        let end = top.saturating_add(self.height).min(self.rows.len());
        self.rows.get(top..end).unwrap_or_default()
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

    /// Goes to the beginning.
    pub fn scroll_to_top(&mut self) {
        self.scroll = if self.last_top() == 0 { Scroll::End } else { Scroll::Row(0) };
    }

    /// Goes to the end.
    pub fn scroll_to_end(&mut self) {
        self.scroll = Scroll::End;
    }
}

fn of_turn(turn: &Turn, width: usize, reasoning: bool) -> Vec<Row> {
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
    let answer = turn.answer.trim_end();
    if !answer.is_empty() {
        rows.extend(markdown::rows(answer, width));
    }
    rows.extend(of_phase(turn, width));
    rows.push(Row::new());
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
            wrap(&[Span::new(text, Kind::Warning)], width, "  ")
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
