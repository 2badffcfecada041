//! What is shown while a model loads: a line that rewrites itself on a terminal, one plain line in
//! a log, nothing when it is quick.

use std::io::{self, Write};
use std::time::Duration;

use wire::pull::PullEvent;
use wire::worker::{WorkerInfo, WorkerState};
use wire::{ModelRef, text};

use super::clock;

/// Silence in a pipe until a load has taken this long.
const QUIET_IN_A_PIPE: Duration = Duration::from_secs(1);
/// Silence on a terminal until then: a warm start shows nothing that would flicker.
const QUIET_ON_A_TERMINAL: Duration = Duration::from_millis(120);
/// Cells of the bar.
const BAR_CELLS: u64 = 24;
/// Carriage return, and "erase in line" (ECMA-48, section 8.3.41).
const ERASE_LINE: &str = "\r\u{1b}[2K";
/// Bytes of a model's name in the line.
const MAX_NAME_BYTES: usize = 48;
/// Bytes of why a download is begun again.
const MAX_WHY_BYTES: usize = 72;

/// The line about a load.
#[derive(Debug)]
pub struct Progress {
    on_terminal: bool,
    /// Whether something stands on the line now, or has been said once in a pipe.
    shown: bool,
}

impl Progress {
    /// Progress for a terminal that can move its cursor, or for anything else.
    pub fn new(on_terminal: bool) -> Self {
        Self { on_terminal, shown: false }
    }

    /// Shows how far a worker is, `elapsed` after the wait began.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn show(
        &mut self,
        to: &mut dyn Write,
        worker: &WorkerInfo,
        elapsed: Duration,
    ) -> io::Result<()> {
        let quiet = if self.on_terminal { QUIET_ON_A_TERMINAL } else { QUIET_IN_A_PIPE };
        if elapsed < quiet || (self.shown && !self.on_terminal) {
            return Ok(());
        }
        self.shown = true;
        let name = text::one_line(&worker.spec.model.to_string(), MAX_NAME_BYTES);
        if !self.on_terminal {
            return writeln!(to, "loading {name}…");
        }
        write!(to, "{ERASE_LINE}loading {name} {}", how_far(&worker.state))?;
        to.flush()
    }

    /// Shows one line in its place; nothing where a line cannot be taken away.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn say(&mut self, to: &mut dyn Write, line: &str) -> io::Result<()> {
        if !self.on_terminal {
            return Ok(());
        }
        self.shown = true;
        write!(to, "{ERASE_LINE}{line}")?;
        to.flush()
    }

    /// Shows how a model is fetched; `note` says a line that stays.
    pub fn fetch(
        &mut self,
        to: &mut dyn Write,
        model: &ModelRef,
        event: &PullEvent,
        note: impl FnOnce(&str),
    ) {
        // Progress that cannot be shown is no reason to stop.
        match fetching(model, event) {
            Some(Fetching::Said(line)) => {
                let _ = self.clear(to);
                note(&line);
            }
            Some(Fetching::Passing(line)) => {
                let _ = self.say(to, &line);
            }
            None => {}
        }
    }

    /// Takes the line away again.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn clear(&mut self, to: &mut dyn Write) -> io::Result<()> {
        if !(self.on_terminal && self.shown) {
            return Ok(());
        }
        self.shown = false;
        to.write_all(ERASE_LINE.as_bytes())?;
        to.flush()
    }
}

/// How far a worker is that loads, else its state.
pub fn how_far(state: &WorkerState) -> String {
    match state {
        WorkerState::Loading { bytes_done, bytes_total } if *bytes_total > 0 => {
            bar(*bytes_done, *bytes_total)
        }
        _ => "…".to_owned(),
    }
}

fn bar(done: u64, total: u64) -> String {
    let done = done.min(total);
    let part = |whole: u64| {
        let (done, whole, total) = (u128::from(done), u128::from(whole), u128::from(total));
        u64::try_from(done * whole / total.max(1)).unwrap_or(0)
    };
    let cells = usize::try_from(part(BAR_CELLS)).unwrap_or(0);
    let rest = usize::try_from(BAR_CELLS).unwrap_or(0).saturating_sub(cells);
    format!(
        "{}{} {:>3} %  {} of {}",
        "█".repeat(cells),
        "░".repeat(rest),
        part(100),
        bytes(done),
        bytes(total)
    )
}

/// What a person is told of a model that is fetched; what passes is for a line that is rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetching {
    /// A line that stays.
    Said(String),
    /// One that the next one replaces.
    Passing(String),
}

/// One event of a model's way to a hive in words; none for what says nothing.
pub fn fetching(model: &ModelRef, event: &PullEvent) -> Option<Fetching> {
    let name = text::one_line(&model.to_string(), MAX_NAME_BYTES);
    match event {
        PullEvent::Found { files, bytes_total, bytes_done, .. } => {
            let unit = if *files == 1 { "file" } else { "files" };
            let size = bytes(*bytes_total);
            let percent = u128::from(*bytes_done) * 100 / u128::from(*bytes_total).max(1);
            Some(Fetching::Said(match percent {
                _ if bytes_done >= bytes_total => format!("pulling {name}: {size} are here"),
                0 => format!("pulling {name}: {files} {unit}, {size}"),
                _ => format!("pulling {name}: {size}, resuming from {percent} %"),
            }))
        }
        PullEvent::Progress { bytes_done, bytes_total, bytes_per_s } => {
            let left = bytes_total.saturating_sub(*bytes_done).checked_div(*bytes_per_s);
            let left = left.filter(|s| *s > 0).map(|s| clock::span(s.saturating_mul(1000)));
            let left = left.map(|left| format!(", {left} left")).unwrap_or_default();
            let (bar, speed) = (bar(*bytes_done, *bytes_total), bytes(*bytes_per_s));
            Some(Fetching::Passing(format!("{bar}, {speed}/s{left}")))
        }
        PullEvent::Retrying { attempt, attempts, why, .. } => {
            let why = text::one_line(&why.message, MAX_WHY_BYTES);
            Some(Fetching::Said(format!("{why}; attempt {attempt} of {attempts}")))
        }
        PullEvent::Fetched { .. }
        | PullEvent::Done { .. }
        | PullEvent::Failed { .. }
        | PullEvent::Unknown => None,
    }
}

/// A number of bytes for a person, in powers of 1024 with three digits.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64;
    let mut shown = "B";
    for unit in units {
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        shown = unit;
    }
    if value < 99.95 { format!("{value:.1} {shown}") } else { format!("{value:.0} {shown}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::tests::worker;

    fn loading(done: u64) -> WorkerInfo {
        worker("demo-1", WorkerState::Loading { bytes_done: done, bytes_total: 4096 })
    }

    #[test]
    fn a_terminal_sees_a_bar_that_is_taken_away() {
        let mut progress = Progress::new(true);
        let mut out = Vec::new();
        progress.show(&mut out, &loading(0), Duration::ZERO).unwrap();
        assert!(out.is_empty(), "a warm start shows nothing");
        progress.show(&mut out, &loading(1024), Duration::from_secs(1)).unwrap();
        progress.clear(&mut out).unwrap();
        progress.clear(&mut out).unwrap();
        let shown = String::from_utf8(out).unwrap();
        assert!(shown.contains(" 25 %  1.0 KiB of 4.0 KiB"), "{shown:?}");
        assert!(shown.ends_with(ERASE_LINE) && !shown.contains('\n'));
    }

    #[test]
    fn a_log_gets_one_plain_line_and_only_for_a_slow_load() {
        let mut progress = Progress::new(false);
        let mut out = Vec::new();
        for ms in [0, 500, 1500, 2500] {
            progress.show(&mut out, &loading(ms), Duration::from_millis(ms)).unwrap();
        }
        progress.clear(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "loading demo…\n");
    }

    #[test]
    fn a_fetching_is_told_in_short_lines() {
        let model: ModelRef = format!("hf:{}/{}", "o".repeat(90), "r".repeat(90)).parse().unwrap();
        let (gib, revision) = (1_u64 << 30, "c0ffee".to_owned());
        let found = |bytes_done| PullEvent::Found {
            revision: revision.clone(),
            files: 1,
            bytes_total: 4 * gib,
            bytes_done,
        };
        let progress =
            PullEvent::Progress { bytes_done: 3 * gib, bytes_total: 4 * gib, bytes_per_s: gib / 8 };
        let why = wire::Fault::new(wire::Code::DownloadFailed, "x".repeat(500));
        let retrying = PullEvent::Retrying { attempt: 2, attempts: 6, pause_ms: 100, why };
        let events = [found(0), found(3 * gib), found(4 * gib), progress, retrying];
        let lines: Vec<String> = events
            .iter()
            .map(|event| match fetching(&model, event) {
                Some(Fetching::Said(line) | Fetching::Passing(line)) => line,
                None => panic!("{event:?} says nothing"),
            })
            .collect();
        for line in &lines {
            assert!(line.chars().count() < 100, "{line}");
        }
        assert!(lines[0].ends_with("1 file, 4.0 GiB") && lines[1].ends_with("resuming from 75 %"));
        assert!(lines[3].ends_with(" 75 %  3.0 GiB of 4.0 GiB, 128 MiB/s, 8.0 s left"));
        assert!(lines[4].ends_with("attempt 2 of 6"));
    }

    #[test]
    fn sizes_have_three_digits() {
        for (count, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (200 << 30, "200 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), shown);
        }
    }
}
