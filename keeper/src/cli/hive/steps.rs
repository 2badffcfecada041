//! Steps as they happen, on standard error: a live line with a bar on a terminal, else a line a
//! step.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wire::{HiveName, text};

use crate::bootstrap::{Step, Witness};
use crate::operations::Account;
use crate::output::clock::duration;
use crate::output::progress::bytes;
use crate::output::style::Style;

/// Carriage return, and "erase in line" (ECMA-48, section 8.3.41).
const ERASE_LINE: &str = "\r\u{1b}[2K";
/// Cells of the bar.
const BAR_CELLS: u64 = 24;
/// Between two looks of the bar: more often than a person can see is for nobody.
const FRAME: Duration = Duration::from_millis(80);
/// Bytes of what is said of a step.
const MAX_WORDS_BYTES: usize = 512;

/// How steps are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A line that rewrites itself and stays when its step is done, for one hive on a terminal.
    Live,
    /// Only that nobody thinks it hangs: such a line while it lasts, where there is a terminal.
    /// What is not as one might expect is said in any case.
    Passing {
        /// Whether there is a terminal, and one hive.
        live: bool,
    },
    /// A line for each step that is done; with the hive's name among several.
    Lines {
        /// Whether several hives are at work.
        named: bool,
    },
}

/// Shows what is done on hives.
pub struct Steps {
    form: Form,
    style: Style,
    now: Mutex<BTreeMap<HiveName, Current>>,
}

/// The step that is being done.
#[derive(Debug)]
struct Current {
    step: Step,
    began: Instant,
    /// When its bar was drawn last.
    drawn: Option<Instant>,
}

impl Steps {
    /// Steps to be shown.
    pub fn new(form: Form, style: Style) -> Self {
        Self { form, style, now: Mutex::new(BTreeMap::new()) }
    }

    /// A line of its own, before the live one.
    fn aside(&self, line: &str) {
        let erase = if self.is_live() { ERASE_LINE } else { "" };
        say(&format!("{erase}{line}\n"));
    }

    /// The step of a hive is done, if one is being done.
    fn done(&self, hive: &HiveName) {
        let Some(current) = self.now().remove(hive) else { return };
        let Some(words) = past(&current.step).filter(|_| !self.is_passing()) else { return };
        let took = format!(" ({})", duration(current.began.elapsed()));
        let words = format!("{words}{}", self.style.muted(&took));
        self.line(hive, &self.style.ok("✓"), &words);
    }

    fn line(&self, hive: &HiveName, mark: &str, words: &str) {
        match self.form {
            Form::Passing { live: true } => say(&format!("{ERASE_LINE}{hive}: {words}\n")),
            Form::Passing { live: false } | Form::Lines { named: true } => {
                say(&format!("{hive}: {words}\n"));
            }
            Form::Live => say(&format!("{ERASE_LINE}{mark} {words}\n")),
            Form::Lines { named: false } => say(&format!("{words}\n")),
        }
    }

    fn is_live(&self) -> bool {
        matches!(self.form, Form::Live | Form::Passing { live: true })
    }

    fn is_passing(&self) -> bool {
        matches!(self.form, Form::Passing { .. })
    }

    /// Draws the live line of a step that goes on.
    fn draw(&self, current: &mut Current) {
        if !self.is_live() || current.drawn.is_some_and(|drawn| drawn.elapsed() < FRAME) {
            return;
        }
        let words = present(&current.step);
        if words.is_empty() {
            return;
        }
        current.drawn = Some(Instant::now());
        // The cursor goes back, so that a question to the person begins in the first column.
        say(&format!("{ERASE_LINE}  {}\r", self.style.muted(&words)));
    }

    fn now(&self) -> MutexGuard<'_, BTreeMap<HiveName, Current>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Witness for Steps {
    fn sees(&self, hive: &HiveName, step: &Step) {
        if let Step::Note(words) = step {
            return self.line(hive, "·", &text::one_line(words, MAX_WORDS_BYTES));
        }
        if let Some(current) = self.now().get_mut(hive)
            && std::mem::discriminant(&current.step) == std::mem::discriminant(step)
        {
            current.step = step.clone();
            return self.draw(current);
        }
        self.done(hive);
        let mut current = Current { step: step.clone(), began: Instant::now(), drawn: None };
        self.draw(&mut current);
        self.now().insert(hive.clone(), current);
    }
}

impl Account for Steps {
    fn tells(&self, hive: &HiveName, words: &str) {
        self.done(hive);
        self.line(hive, &self.style.ok("✓"), &text::one_line(words, MAX_WORDS_BYTES));
    }

    fn notes(&self, words: &str) {
        self.aside(&self.style.muted(words));
    }

    fn warns(&self, words: &str) {
        self.aside(&format!("{} {words}", self.style.warning("warning:")));
    }
}

impl Drop for Steps {
    /// A step that was not done leaves no line: what failed is told by its fault.
    fn drop(&mut self) {
        if self.is_live() && !self.now().is_empty() {
            say(ERASE_LINE);
        }
    }
}

/// A step while it lasts.
fn present(step: &Step) -> String {
    match step {
        Step::Connecting => "connecting…".to_owned(),
        Step::Probing => "looking at the machine…".to_owned(),
        Step::Installing { done, total } => format!("uploading {}", bar(*done, *total)),
        Step::Starting => "starting the agent…".to_owned(),
        Step::Online | Step::Note(_) => String::new(),
    }
}

/// A step that is done; none for what is only a state.
fn past(step: &Step) -> Option<String> {
    match step {
        Step::Connecting => Some("connected".to_owned()),
        Step::Probing => Some("looked at the machine".to_owned()),
        Step::Installing { total, .. } => Some(format!("uploaded rbee, {}", bytes(*total))),
        Step::Starting => Some("started the agent".to_owned()),
        Step::Online | Step::Note(_) => None,
    }
}

/// When standard error is closed, nobody wants steps.
fn say(text: &str) {
    let mut to = io::stderr().lock();
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}

fn bar(done: u64, total: u64) -> String {
    let done = done.min(total);
    let part = |whole: u64| done.saturating_mul(whole).checked_div(total).unwrap_or(0);
    let cells = usize::try_from(part(BAR_CELLS)).unwrap_or(0);
    let rest = usize::try_from(BAR_CELLS).unwrap_or(0).saturating_sub(cells);
    let (full, empty) = ("█".repeat(cells), "░".repeat(rest));
    format!("{full}{empty} {:>3} %  {} of {}", part(100), bytes(done), bytes(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_step_ends_the_one_before_and_progress_does_not() {
        let steps = Steps::new(Form::Lines { named: true }, Style::plain());
        let hive: HiveName = "pc".parse().unwrap();
        let step = |hive: &HiveName| steps.now().get(hive).map(|current| current.step.clone());
        steps.sees(&hive, &Step::Connecting);
        steps.sees(&hive, &Step::Installing { done: 0, total: 9 });
        let began = steps.now()[&hive].began;
        steps.sees(&hive, &Step::Installing { done: 9, total: 9 });
        assert_eq!(step(&hive), Some(Step::Installing { done: 9, total: 9 }));
        assert_eq!(steps.now()[&hive].began, began, "its time goes on");
        steps.tells(&hive, "all done");
        assert_eq!(step(&hive), None);
    }

    #[test]
    fn a_step_has_words_for_now_and_then() {
        let upload = Step::Installing { done: 1024, total: 2048 };
        assert!(present(&upload).contains(" 50 %  1.0 KiB of 2.0 KiB"));
        assert_eq!(past(&upload).unwrap(), "uploaded rbee, 2.0 KiB");
        assert_eq!(past(&Step::Online), None);
    }

    #[test]
    fn a_bar_is_full_at_the_end_and_empty_without_a_size() {
        assert_eq!(bar(0, 0).matches('█').count(), 0);
        assert!(bar(50, 100).contains(" 50 %  50 B of 100 B"));
        assert_eq!(bar(200, 100).matches('█').count(), 24);
    }
}
