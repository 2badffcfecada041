//! A terminal at which the keeper's user types.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Fleet;

/// What Ctrl-C sends.
pub const CTRL_C: &str = "\u{3}";

/// A command of the keeper's user at a terminal of its own. One that asks what is never answered
/// ends with the patience of the lab.
pub struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    /// All that was shown.
    shown: Vec<u8>,
    /// Where what was waited for last ends in it.
    seen: usize,
}

/// A log of everything that is not about each packet.
const LOUD: &str = "trace,russh::cipher=info,russh::sshbuffer=info";

impl Terminal {
    /// Starts the program there; each of its arguments is one plain word.
    ///
    /// # Panics
    /// When the terminal does not start.
    pub fn start(fleet: &Fleet, args: &[&str]) -> Self {
        Self::of(fleet, &format!("bin/rbee {}", args.join(" ")))
    }

    /// As [`Self::start`], with everything written into the keeper's log that can be, but for the
    /// lengths of each packet: those of an upload would push everything else out of it.
    ///
    /// # Panics
    /// As there.
    pub fn start_logged(fleet: &Fleet, args: &[&str]) -> Self {
        Self::of(fleet, &format!("RBEE_LOG={LOUD} bin/rbee {}", args.join(" ")))
    }

    fn of(fleet: &Fleet, line: &str) -> Self {
        // Whoever runs the suite may have no terminal at all.
        let words = ["keeper", "env", "TERM=xterm-256color", "script", "-qefc", line, "/dev/null"];
        let mut command = fleet.lab.command(&words);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("a terminal");
        let keys = child.stdin.take().expect("a pipe");
        let screen = child.stdout.take().expect("a pipe");
        Self { child, keys, screen, shown: Vec::new(), seen: 0 }
    }

    /// Waits until `words` were shown, behind those that were waited for before.
    ///
    /// # Panics
    /// When the command ends before.
    #[track_caller]
    pub fn shows(&mut self, words: &str) {
        let mut piece = [0; 4096];
        loop {
            let new = self.shown.get(self.seen..).unwrap_or_default();
            if let Some(at) = new.windows(words.len()).position(|part| part == words.as_bytes()) {
                self.seen += at + words.len();
                return;
            }
            let count = self.screen.read(&mut piece).expect("readable");
            assert!(count > 0, "it ended before it showed {words:?}: {}", self.all());
            self.shown.extend_from_slice(piece.get(..count).unwrap_or_default());
        }
    }

    /// Takes what is shown, if anything is within a tenth of a second: who shows it must not wait.
    ///
    /// # Panics
    /// When the screen cannot be read.
    pub fn looks(&mut self) {
        let bound = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        let mut waits = [PollFd::new(&self.screen, PollFlags::IN)];
        if poll(&mut waits, Some(&bound)).unwrap_or(0) > 0 {
            let mut piece = [0; 16 * 1024];
            let count = self.screen.read(&mut piece).expect("readable");
            self.shown.extend_from_slice(piece.get(..count).unwrap_or_default());
        }
    }

    /// Types keys.
    ///
    /// # Panics
    /// When nobody reads them.
    pub fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the terminal is open");
    }

    /// Waits for the end: the exit code, and all that was shown.
    ///
    /// # Panics
    /// When the screen cannot be read.
    pub fn ends(mut self) -> (Option<i32>, String) {
        self.screen.read_to_end(&mut self.shown).expect("readable");
        let status = self.child.wait().expect("it ends");
        (status.code(), self.all())
    }

    fn all(&self) -> String {
        String::from_utf8_lossy(&self.shown).into_owned()
    }
}
