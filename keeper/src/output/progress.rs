//! What is shown while a model loads: a line that rewrites itself on a terminal, one plain line in
//! a log, nothing when it is quick.

use std::io::{self, Write};
use std::time::Duration;

use wire::text;
use wire::worker::{WorkerInfo, WorkerState};

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
            let done = *bytes_done.min(bytes_total);
            let part =
                |whole: u64| done.saturating_mul(whole).checked_div(*bytes_total).unwrap_or(0);
            let cells = usize::try_from(part(BAR_CELLS)).unwrap_or(0);
            let rest = usize::try_from(BAR_CELLS).unwrap_or(0).saturating_sub(cells);
            format!(
                "{}{} {:>3} %  {} of {}",
                "█".repeat(cells),
                "░".repeat(rest),
                part(100),
                bytes(done),
                bytes(*bytes_total)
            )
        }
        _ => "…".to_owned(),
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
