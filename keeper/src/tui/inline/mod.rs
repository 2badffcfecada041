//! The chat below what the terminal shows already: what was said goes into the terminal's own
//! scroll-back, and only a few rows at the end are drawn anew.
//!
//! ```text
//! $ rbee chat --inline
//! you                          ┐ printed once: the terminal's own,
//! What is a hive?              │ scrolled, searched and copied
//!                              │ as everything in it
//! demo on local cpu            ┘
//! A hive is a machine          ┐
//! › what is written            │ drawn anew
//! ready · 120 tokens/s         ┘
//! ```
//! Nothing is asked of the terminal, and rows are counted from the one that the cursor is in: it
//! works where answers of the terminal are slow or do not come. What takes all keys for a while, a
//! list of models or a question, is on the terminal's other screen: rows for it here would push
//! what was said out of sight, and be left blank behind it.

mod paint;
mod printed;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;

use ratatui::backend::TestBackend;
use ratatui::{Terminal, TerminalOptions, Viewport};
use wire::{Code, Fault};

use super::look::Look;
use super::rows::Row;
use super::screen;
use super::state::State;
use super::view;
use printed::Printed;

/// Pasted text is marked.
const ENTER: &[u8] = b"\x1b[?2004h";
/// Plain text, no marks, a cursor, nothing below it.
const LEAVE: &[u8] = b"\x1b[0m\x1b[?2004l\x1b[?25h\x1b[J";
/// The terminal shows what follows at once (the synchronized output of contour and others; who does
/// not know it passes over it), without a cursor that runs about.
const BEGIN: &str = "\x1b[?2026h\x1b[?25l";
const END: &str = "\x1b[?25h\x1b[?2026l";
/// The other screen, with nothing on it; the usual one again, and the cursor where it was (xterm's
/// control sequences).
const OTHER_SCREEN: &[u8] = b"\x1b[?1049h";
const USUAL_SCREEN: &[u8] = b"\x1b[0m\x1b[?1049l";
/// As [`LEAVE`], from the other screen.
const LEAVE_OTHER: &[u8] = b"\x1b[0m\x1b[?1049l\x1b[?2004l\x1b[?25h\x1b[J";

/// The rows at the end; on the other screen, all of them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Footer {
    lines: Vec<String>,
    /// Column and row of the cursor in it.
    cursor: (usize, usize),
}

/// The terminal while the chat has its last rows. Dropping it takes them away.
pub struct Inline {
    tty: File,
    printed: Printed,
    drawn: Option<Footer>,
    /// What the other screen shows, while it is there.
    over: Option<Footer>,
}

fn unusable(error: impl std::fmt::Display) -> Fault {
    Fault::new(Code::Io, "the terminal cannot be used").cause(error)
}

impl Inline {
    /// Takes the terminal of this process.
    ///
    /// # Errors
    /// `IO_ERROR` when it cannot be read or written.
    pub fn of_this_process() -> Result<Self, Fault> {
        let tty = io::stdout().as_fd().try_clone_to_owned().map_err(unusable)?;
        let (tty, printed) = (File::from(tty), Printed::default());
        let mut inline = Self { tty, printed, drawn: None, over: None };
        inline.enter()?;
        Ok(inline)
    }

    /// Columns and rows of the terminal.
    pub fn size(&self) -> (u16, u16) {
        screen::size(&self.tty)
    }

    /// Takes the terminal, again after it was given back.
    ///
    /// # Errors
    /// `IO_ERROR` when it cannot be read or written.
    pub fn enter(&mut self) -> Result<(), Fault> {
        screen::take(&self.tty, LEAVE)?;
        // Somebody else may have written below.
        (self.drawn, self.over) = (None, None);
        self.tty.write_all(ENTER).map_err(unusable)
    }

    /// The terminal has another size: rows that are printed stay as they are.
    pub fn resize(&mut self) {
        self.printed.resize();
        if self.over.is_some() {
            // Drawn anew, whatever the terminal made of it.
            self.over = Some(Footer::default());
        }
    }

    /// Takes the last rows away and gives the terminal back.
    pub fn leave(&mut self) {
        if screen::is_taken() {
            // A terminal that is gone needs nothing back.
            let _ = self.return_to_the_usual_screen();
            let mut out = String::new();
            self.go_to_the_top(&mut out);
            let _ = self.tty.write_all(out.as_bytes());
            screen::give_back();
        }
    }

    /// Prints what is complete and draws the rest.
    ///
    /// # Errors
    /// `IO_ERROR` when the terminal cannot be written.
    pub fn draw(&mut self, state: &mut State, look: &Look) -> Result<(), Fault> {
        if !screen::is_taken() {
            return Ok(());
        }
        // The last column stays free: a terminal may go to the next row behind it.
        let (columns, rows) = self.size();
        let width = columns.saturating_sub(1).max(1);
        if state.overlay.is_some() {
            return self.draw_over(state, look, (width, rows));
        }
        self.return_to_the_usual_screen()?;
        let (print, live) = self.printed.take(&state.lane().chat, usize::from(width));
        let footer = footer(state, look, &live, (width, rows))?;
        if print.is_empty() && self.drawn.as_ref() == Some(&footer) {
            return Ok(());
        }
        let mut out = BEGIN.to_owned();
        self.go_to_the_top(&mut out);
        for row in &print {
            out.push_str(&paint::row(row, look));
            out.push_str("\x1b[K\r\n");
        }
        out.push_str(&footer.lines.join("\x1b[K\r\n"));
        out.push_str("\x1b[K\x1b[J");
        let (column, row) = footer.cursor;
        let up = footer.lines.len().saturating_sub(row + 1);
        go(&mut out, up, 'A');
        out.push('\r');
        go(&mut out, column, 'C');
        out.push_str(END);
        self.tty.write_all(out.as_bytes()).map_err(unusable)?;
        self.drawn = Some(footer);
        Ok(())
    }

    /// Draws the other screen. What is complete meanwhile is printed when it is gone.
    fn draw_over(&mut self, state: &mut State, look: &Look, size: (u16, u16)) -> Result<(), Fault> {
        let shown = pictured(state, look, &[], size)?;
        if self.over.as_ref() == Some(&shown) {
            return Ok(());
        }
        if self.over.is_none() {
            screen::take(&self.tty, LEAVE_OTHER)?;
            self.tty.write_all(OTHER_SCREEN).map_err(unusable)?;
        }
        let mut out = format!("{BEGIN}\x1b[H");
        out.push_str(&shown.lines.join("\x1b[K\r\n"));
        out.push_str("\x1b[K\x1b[J\x1b[H");
        let (column, row) = shown.cursor;
        go(&mut out, row, 'B');
        go(&mut out, column, 'C');
        out.push_str(END);
        self.tty.write_all(out.as_bytes()).map_err(unusable)?;
        self.over = Some(shown);
        Ok(())
    }

    /// Leaves the other screen, where it is there.
    fn return_to_the_usual_screen(&mut self) -> Result<(), Fault> {
        if self.over.take().is_some() {
            self.tty.write_all(USUAL_SCREEN).map_err(unusable)?;
            screen::take(&self.tty, LEAVE)?;
        }
        Ok(())
    }

    /// To where the last rows begin.
    fn go_to_the_top(&self, out: &mut String) {
        go(out, self.drawn.as_ref().map_or(0, |footer| footer.cursor.1), 'A');
        out.push('\r');
    }
}

impl Drop for Inline {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Moves the cursor by some cells (ECMA-48, CUU, CUD and CUF).
fn go(out: &mut String, cells: usize, way: char) {
    if cells > 0 {
        // A String takes everything.
        let _ = write!(out, "\x1b[{cells}{way}");
    }
}

/// The last rows: the end of the answer that comes, what is written, how things are.
fn footer(
    state: &mut State,
    look: &Look,
    live: &[Row],
    (width, rows): (u16, u16),
) -> Result<Footer, Fault> {
    // One row of what is above is always seen.
    let most = rows.saturating_sub(1).max(1);
    let wanted = view::inline::height(state, live.len(), width, rows);
    pictured(state, look, live, (width, wanted.min(most)))
}

/// So many columns and rows, as they are drawn.
fn pictured(
    state: &mut State,
    look: &Look,
    live: &[Row],
    (width, height): (u16, u16),
) -> Result<Footer, Fault> {
    state.size = (width, height);
    let area = ratatui::layout::Rect::new(0, 0, width, height);
    let options = TerminalOptions { viewport: Viewport::Fixed(area) };
    let mut memory =
        Terminal::with_options(TestBackend::new(width, height), options).map_err(unusable)?;
    let state = &*state;
    let drawn = memory.draw(|frame| view::inline::draw(state, look, live, frame));
    let lines = paint::lines(drawn.map_err(unusable)?.buffer);
    let cursor = memory.get_cursor_position().unwrap_or_default();
    let cursor = (usize::from(cursor.x), usize::from(cursor.y).min(lines.len().saturating_sub(1)));
    Ok(Footer { lines, cursor })
}
