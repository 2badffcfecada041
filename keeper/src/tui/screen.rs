//! The terminal: taken for the time of the TUI, and given back on every way out.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use wire::{Code, Fault};

/// The other screen, no cursor, pasted text marked, nothing on it (xterm's control sequences).
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?2004h\x1b[2J";
/// Presses and turns of the mouse are told, in numbers (xterm's control sequences).
const TAKE_MOUSE: &[u8] = b"\x1b[?1000h\x1b[?1006h";
/// They are not.
const GIVE_MOUSE: &[u8] = b"\x1b[?1006l\x1b[?1000l";
/// Plain text, the terminal's own mouse, no marks, a cursor, the screen as it was.
const LEAVE: &[u8] = b"\x1b[0m\x1b[?1006l\x1b[?1000l\x1b[?2004l\x1b[?25h\x1b[?1049l";
/// Size of a terminal that does not know its own (ECMA-48 has no smaller one in use).
const USUAL_SIZE: (u16, u16) = (80, 24);
/// Bytes of a frame that are written at once.
const FRAME_BYTES: usize = 64 * 1024;

/// What the terminal was before; none while it is not taken. A panic must find it, too.
static TAKEN: Mutex<Option<Taken>> = Mutex::new(None);

struct Taken {
    tty: File,
    modes: Termios,
    /// What is written before it is given back.
    leave: &'static [u8],
}

/// The terminal while the TUI has it. Dropping it gives it back.
pub struct Screen {
    tty: File,
    terminal: Canvas,
    mouse: bool,
}

/// What is drawn on.
type Canvas = Terminal<CrosstermBackend<BufWriter<File>>>;

fn unusable(error: impl std::fmt::Display) -> Fault {
    Fault::new(Code::Io, "the terminal cannot be used").cause(error)
}

impl Screen {
    /// Takes the terminal of this process.
    ///
    /// # Errors
    /// `IO_ERROR` when it cannot be read or written.
    pub fn of_this_process() -> Result<Self, Fault> {
        let tty = io::stdout().as_fd().try_clone_to_owned().map_err(unusable)?;
        Self::of(File::from(tty))
    }

    /// Takes a terminal.
    ///
    /// # Errors
    /// `IO_ERROR` when it cannot be read or written.
    pub fn of(tty: File) -> Result<Self, Fault> {
        let terminal = terminal(&tty, size(&tty))?;
        let mut screen = Self { tty, terminal, mouse: false };
        screen.enter()?;
        Ok(screen)
    }

    /// Columns and rows.
    pub fn size(&self) -> (u16, u16) {
        size(&self.tty)
    }

    /// Takes the terminal, again after [`give_back`]; everything is drawn anew.
    ///
    /// # Errors
    /// `IO_ERROR` when it cannot be read or written.
    pub fn enter(&mut self) -> Result<(), Fault> {
        take(&self.tty, LEAVE)?;
        self.tty.write_all(ENTER).map_err(unusable)?;
        if self.mouse {
            self.tty.write_all(TAKE_MOUSE).map_err(unusable)?;
        }
        self.resize(self.size())
    }

    /// Takes the mouse from the terminal, or gives it back. Whoever leaves gives it back, too.
    ///
    /// # Errors
    /// `IO_ERROR` when the terminal cannot be written.
    pub fn take_mouse(&mut self, taken: bool) -> Result<(), Fault> {
        self.mouse = taken;
        let words = if taken { TAKE_MOUSE } else { GIVE_MOUSE };
        self.tty.write_all(words).map_err(unusable)
    }

    /// Draws on so many columns and rows from now on, everything anew.
    ///
    /// # Errors
    /// `IO_ERROR` when the terminal cannot be written.
    pub fn resize(&mut self, size: (u16, u16)) -> Result<(), Fault> {
        // Another one, since one that is resized asks for the size of the process's own terminal.
        self.terminal = terminal(&self.tty, size)?;
        self.tty.write_all(b"\x1b[2J").map_err(unusable)
    }

    /// Draws what changed since the frame before. A terminal that was given back is left alone.
    ///
    /// # Errors
    /// `IO_ERROR` when the terminal cannot be written.
    pub fn draw(&mut self, view: impl FnOnce(&mut Frame<'_>)) -> Result<(), Fault> {
        if !is_taken() {
            return Ok(());
        }
        self.terminal.draw(view).map(|_| ()).map_err(unusable)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Nothing is drawn on it yet. The size is told by events: who asked for it at each frame would ask
/// the system.
fn terminal(tty: &File, (columns, rows): (u16, u16)) -> Result<Canvas, Fault> {
    let writer = BufWriter::with_capacity(FRAME_BYTES, tty.try_clone().map_err(unusable)?);
    let options = TerminalOptions { viewport: Viewport::Fixed(Rect::new(0, 0, columns, rows)) };
    Terminal::with_options(CrosstermBackend::new(writer), options).map_err(unusable)
}

/// Takes the keys of a terminal, each as it is pressed, until [`give_back`] writes `leave` to it.
///
/// # Errors
/// `IO_ERROR` when it cannot be used.
pub fn take(tty: &File, leave: &'static [u8]) -> Result<(), Fault> {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let modes = match taken.take() {
        // Somebody else may have changed them while this process was stopped.
        Some(taken) => taken.modes,
        None => tcgetattr(tty).map_err(unusable)?,
    };
    let mut raw = modes.clone();
    raw.make_raw();
    *taken = Some(Taken { tty: tty.try_clone().map_err(unusable)?, modes, leave });
    drop(taken);
    tcsetattr(tty, OptionalActions::Now, &raw).map_err(unusable)
}

/// Whether the terminal is taken.
pub fn is_taken() -> bool {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// Columns and rows of a terminal.
pub fn size(tty: &File) -> (u16, u16) {
    match tcgetwinsize(tty) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        _ => USUAL_SIZE,
    }
}

/// Whether the terminal that was taken has hung up.
pub fn is_gone() -> bool {
    let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(Taken { tty, .. }) = taken.as_ref() else { return false };
    let mut asked = [PollFd::new(tty, PollFlags::OUT)];
    let heard = poll(&mut asked, Some(&Timespec::default()));
    let [told] = asked;
    heard.is_ok() && told.revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

/// Gives the terminal back as it was; nothing when it is not taken.
pub fn give_back() {
    let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Taken { mut tty, modes, leave }) = taken {
        // A terminal that is gone needs nothing back.
        let _ = tty.write_all(leave).and_then(|()| tty.flush());
        let _ = tcsetattr(&tty, OptionalActions::Now, &modes);
    }
}

/// Passes a control sequence on that draws nothing. A terminal that was given back is left alone.
///
/// # Errors
/// `IO_ERROR` when the terminal cannot be written.
pub fn pass_on(sequence: &str) -> Result<(), Fault> {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    match taken.as_mut() {
        Some(Taken { tty, .. }) => tty.write_all(sequence.as_bytes()).map_err(unusable),
        None => Ok(()),
    }
}

/// From now on a panic of any thread gives the terminal back before it says what happened.
pub fn give_back_in_a_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |what| {
        give_back();
        before(what);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::LocalModes;
    use std::io::Read;

    /// A terminal of its own: the side that a terminal emulator has, and the program's.
    fn pty() -> (File, File) {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let theirs = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        (File::from(ours), theirs)
    }

    // One test: the terminal of a process, and what its panics do, are one.
    #[test]
    fn a_panic_anywhere_gives_the_terminal_back_as_it_was_and_nothing_is_drawn_any_more() {
        let (mut ours, theirs) = pty();
        let before = tcgetattr(&theirs).unwrap().local_modes;
        let mut screen = Screen::of(theirs.try_clone().unwrap()).unwrap();
        let modes = || tcgetattr(&theirs).unwrap().local_modes;
        assert!(!modes().intersects(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG));
        screen.draw(|frame| frame.render_widget("seen", frame.area())).unwrap();
        give_back_in_a_panic();
        let thread = std::thread::spawn(|| panic!("this panic belongs to the test"));
        assert!(thread.join().is_err());
        let _ = std::panic::take_hook();
        assert_eq!(modes(), before);
        screen.draw(|frame| frame.render_widget("late", frame.area())).unwrap();
        drop(screen);
        // A terminal gives what was written in as many pieces as it likes.
        let mut shown = String::new();
        while !shown.contains("\x1b[?1049l") {
            let mut piece = [0; 4096];
            let count = ours.read(&mut piece).unwrap();
            shown.push_str(&String::from_utf8_lossy(&piece[..count]));
        }
        assert!(shown.starts_with("\x1b[?1049h") && shown.contains("seen"), "{shown:?}");
        assert!(shown.contains("\x1b[?2004l\x1b[?25h\x1b[?1049l"), "{shown:?}");
        assert!(!shown.contains("late"), "{shown:?}");
    }
}
