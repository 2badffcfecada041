//! Who is told of an operation: the hive's row on the board, and the operation's record.

use std::sync::Arc;

use tokio::sync::mpsc;
use wire::{Fault, HiveName, text};

use crate::bootstrap::{Step, Witness};
use crate::operations::Account;
use crate::output::progress::bytes;
use crate::tui::records::Line;
use crate::tui::rows::Kind;

/// Bytes of a step.
const MAX_STEP_BYTES: usize = 512;

/// Passes steps on to the row of their hive; when they come faster than they are taken, the next
/// one tells more.
pub struct Rows(pub mpsc::Sender<(HiveName, Step)>);

impl Witness for Rows {
    fn sees(&self, hive: &HiveName, step: &Step) {
        let _ = self.0.try_send((hive.clone(), step.clone()));
    }
}

/// Passes on what is told of one operation.
pub struct Told {
    /// Where its lines go, as long as somebody takes them.
    pub lines: mpsc::Sender<Line>,
    /// Where its steps go besides.
    pub rows: Arc<dyn Witness>,
}

impl Told {
    /// Adds a line. One that cannot be taken now would only be scrolled away.
    pub fn say(&self, line: Line) {
        let _ = self.lines.try_send(line);
    }

    /// A hive that does not take part.
    pub fn absent(&self, hive: &HiveName, why: &Fault) {
        self.warns(&format!("without the hive {hive}: {}", why.message));
        if let Some(hint) = why.hints.first() {
            self.say(Line::new(&format!("hint: {hint}"), Kind::Hint));
        }
    }
}

impl Witness for Told {
    fn sees(&self, hive: &HiveName, step: &Step) {
        self.rows.sees(hive, step);
        if let Some(line) = line(hive, step) {
            self.say(line);
        }
    }
}

impl Account for Told {
    fn tells(&self, _: &HiveName, words: &str) {
        self.say(Line::new(words, Kind::Text));
    }

    fn notes(&self, words: &str) {
        self.say(Line::new(words, Kind::Text));
    }

    fn warns(&self, words: &str) {
        self.say(Line::new(&format!("warning: {words}"), Kind::Warning));
    }
}

/// A step in words; none for what is only a state.
pub fn words(step: &Step) -> Option<String> {
    Some(match step {
        Step::Connecting => "connecting".to_owned(),
        Step::Probing => "looking at the machine".to_owned(),
        Step::Installing { done, total } => {
            format!("uploading rbee, {} of {}", bytes(*done), bytes(*total))
        }
        Step::Starting => "starting the agent".to_owned(),
        Step::Online => return None,
        Step::Note(words) => text::one_line(words, MAX_STEP_BYTES),
    })
}

/// A step as a line of a record.
pub fn line(hive: &HiveName, step: &Step) -> Option<Line> {
    let words = format!("{hive}: {}", words(step)?);
    Some(match step {
        Step::Installing { done, total } if done < total => Line::passing(&words),
        _ => Line::new(&words, Kind::Text),
    })
}
