//! Which rows of a conversation are printed for good, and which may still change. Pure.

use crate::tui::chat::{Chat, Phase, Turn};
use crate::tui::event::AskId;
use crate::tui::rows::Row;
use crate::tui::transcript::Transcript;

/// What was printed.
#[derive(Debug, Default)]
pub struct Printed {
    /// The newest turn that is printed whole; ids grow.
    whole: AskId,
    /// The turn of which a part is printed: how many rows of it.
    part: Option<(AskId, usize)>,
    /// Bytes of its answer when it was looked at last.
    settled: usize,
}

impl Printed {
    /// The terminal has another width. What is printed of a turn that comes has other rows now: it
    /// is printed once more rather than not at all.
    pub fn resize(&mut self) {
        if let Some((_, rows)) = &mut self.part {
            *rows = 0;
        }
        self.settled = 0;
    }

    /// Rows to print now, and those of the end that may still change.
    pub fn take(&mut self, chat: &Chat, width: usize) -> (Vec<Row>, Vec<Row>) {
        let mut print = Vec::new();
        let last = self.whole;
        for turn in chat.turns.iter().filter(|turn| turn.id > last) {
            if self.part.is_none_or(|(id, _)| id != turn.id) {
                (self.part, self.settled) = (Some((turn.id, 0)), 0);
            }
            let done = self.part.map_or(0, |(_, rows)| rows);
            if !turn.goes_on() {
                print.extend(rows(turn.clone(), chat, width).into_iter().skip(done));
                (self.whole, self.part) = (turn.id, None);
                continue;
            }
            let settled = settled(&turn.answer);
            let mut done = done;
            if settled > self.settled {
                self.settled = settled;
                let answer = turn.answer.get(..settled).unwrap_or_default().to_owned();
                let begun = Turn { answer, phase: Phase::Coming, tokens: 1, ..turn.clone() };
                let mut rows = rows(begun, chat, width);
                // The blank row at the end is the turn's, not the answer's.
                rows.pop();
                print.extend(rows.iter().skip(done).cloned());
                done = done.max(rows.len());
                self.part = Some((turn.id, done));
            }
            let live = rows(turn.clone(), chat, width).into_iter().skip(done).collect();
            return (print, live);
        }
        (print, Vec::new())
    }
}

/// All rows of a turn.
fn rows(turn: Turn, chat: &Chat, width: usize) -> Vec<Row> {
    let alone = Chat { turns: vec![turn], reasoning: chat.reasoning, ..Chat::default() };
    let mut transcript = Transcript::default();
    transcript.lay_out(&alone, width, usize::MAX);
    transcript.seen().cloned().collect()
}

/// Bytes of an answer that are laid out as they will be whatever follows: up to an empty line
/// outside of a block of code, which no list, quotation or table goes on behind.
fn settled(answer: &str) -> usize {
    let (mut at, mut settled, mut in_code) = (0, 0, false);
    let mut may_go_on = false;
    for line in answer.split_inclusive('\n') {
        let text = line.trim();
        if text.starts_with("```") || text.starts_with("~~~") {
            in_code = !in_code;
        }
        let is_plain = text.starts_with(|c: char| c.is_alphabetic()) && !line.starts_with(' ');
        if text.is_empty() && !in_code && line.ends_with('\n') {
            if !may_go_on {
                settled = at + line.len();
            }
        } else {
            may_go_on = !is_plain && !text.starts_with('#') && !text.starts_with("```");
        }
        at += line.len();
    }
    settled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::chat::Partner;
    use crate::tui::event::{News, Piece};
    use proptest::prelude::*;
    use std::time::Duration;
    use wire::ModelRef;

    fn asked() -> Chat {
        let mut chat = Chat::with(Some(Partner { model: ModelRef::Demo, hive: None }));
        chat.ask(1, "what".to_owned(), Duration::ZERO).unwrap();
        chat
    }

    fn come(chat: &mut Chat, text: &str) {
        let piece = Piece { answer: text.to_owned(), reasoning: String::new(), tokens: 1 };
        chat.take(1, News::Piece(piece), Duration::ZERO);
    }

    fn text(rows: &[Row]) -> Vec<String> {
        let line = |row: &Row| row.iter().map(|span| span.text.as_str()).collect::<String>();
        rows.iter().map(|row| line(row).trim_end().to_owned()).collect()
    }

    #[test]
    fn an_answer_is_settled_up_to_the_last_paragraph_that_nothing_goes_on_with() {
        assert_eq!(settled("one\ntwo"), 0);
        assert_eq!(settled("one\n\ntwo"), 5);
        assert_eq!(settled("one\n\n- a\n\n- b\n\n"), 5, "a list may get another item");
        assert_eq!(settled("```\na\n\nb"), 0);
        assert_eq!(settled("# Title\n\n"), 9);
    }

    #[test]
    fn what_is_printed_is_printed_once() {
        let mut chat = asked();
        let mut printed = Printed::default();
        let (first, live) = printed.take(&chat, 40);
        assert!(first.is_empty() && text(&live).contains(&"what".to_owned()));
        come(&mut chat, "one\n\ntw");
        let (print, live) = printed.take(&chat, 40);
        assert!(text(&print).contains(&"one".to_owned()), "{print:?}");
        assert!(text(&live).contains(&"tw".to_owned()), "{live:?}");
        assert_eq!(printed.take(&chat, 40).0, Vec::<Row>::new());
        chat.take(1, News::Ended(Err(None)), Duration::ZERO);
        let (rest, live) = printed.take(&chat, 40);
        assert_eq!(text(&rest).iter().filter(|line| *line == "one").count(), 0);
        assert!(text(&rest).contains(&"cancelled".to_owned()) && live.is_empty());
        assert_eq!(printed.take(&chat, 40), (Vec::new(), Vec::new()));
    }

    proptest! {
        #[test]
        fn any_answer_in_any_pieces_is_printed_as_it_would_be_at_once(
            pieces in prop::collection::vec(
                concat!(
                    "[a-c ]{0,6}|\n|\n\n|- [a-c]{1,3}\n|# [a-c]{1,3}\n|",
                    "```\n|1\\. a\n|> b\n|\\|a\\|b\\|\n",
                ),
                0..14,
            ),
        ) {
            let mut chat = asked();
            let mut printed = Printed::default();
            let mut all = Vec::new();
            for piece in &pieces {
                come(&mut chat, piece);
                all.extend(printed.take(&chat, 40).0);
            }
            chat.take(1, News::Ended(Err(None)), Duration::ZERO);
            all.extend(printed.take(&chat, 40).0);
            let whole = rows(chat.turns[0].clone(), &chat, 40);
            prop_assert_eq!(text(&all), text(&whole));
        }
    }
}
