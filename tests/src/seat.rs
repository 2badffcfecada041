//! A seat at a screen: the program on a terminal of its own, and what a person sees there.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::sandbox::{PATIENCE, program};
use crate::{Fleet, Sandbox};

/// How long a program in a lab may take, in seconds.
const LAB_S: u64 = 180;

/// The program as a person sees it.
pub struct Seat {
    child: Child,
    ours: File,
    /// Kept open, so that what the program left behind can be looked at.
    theirs: File,
    before: Termios,
    parser: vt100::Parser,
    started: Instant,
}

fn winsize(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn cells(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).expect("a terminal has cells")
}

impl Seat {
    /// Starts the program without arguments in a home, on a terminal of that size.
    ///
    /// # Panics
    /// When there is no terminal, or the program does not start.
    pub fn at(sandbox: &Sandbox, columns: u16, rows: u16) -> Self {
        Self::with(sandbox, &[], columns, rows)
    }

    /// As [`Self::at`], with arguments.
    ///
    /// # Panics
    /// As there.
    pub fn with(sandbox: &Sandbox, args: &[&str], columns: u16, rows: u16) -> Self {
        Self::of(sandbox, program().as_os_str(), args, (columns, rows))
    }

    /// Starts a shell with job control there; it knows the program as `rbee`.
    ///
    /// # Panics
    /// As [`Self::at`].
    pub fn with_shell(sandbox: &Sandbox, columns: u16, rows: u16) -> Self {
        let alias = format!("rbee() {{ '{}' \"$@\"; }}\nPS1='ready> '\n", program().display());
        std::fs::write(sandbox.home().join("rc"), alias).expect("a file for the shell");
        // Its own line editing would change the modes as well.
        let words = ["--noprofile", "--rcfile", "rc", "--noediting", "-i"];
        Self::of(sandbox, "bash".as_ref(), &words, (columns, rows))
    }

    /// Starts what gives each key back as it is, on a terminal of its own: it shows what the
    /// machine itself takes for a key.
    ///
    /// # Panics
    /// As [`Self::at`].
    pub fn with_echo(sandbox: &Sandbox) -> Self {
        let script = "stty raw -echo && echo ready && exec cat";
        let mut seat = Self::of(sandbox, "sh".as_ref(), &["-c", script], (80, 24));
        seat.shows("ready");
        seat
    }

    /// Starts the program of the keeper's user of a lab, on a terminal of that size.
    ///
    /// # Panics
    /// As [`Self::at`].
    pub fn in_lab(fleet: &Fleet, columns: u16, rows: u16) -> Self {
        let words = ["keeper", "env", "LANG=C.UTF-8", "TERM=xterm-256color"];
        let program = ["setsid", "--ctty", "bin/rbee"];
        let command = fleet.lab.command_within(LAB_S, &[&words[..], &program].concat());
        Self::run(command, (columns, rows))
    }

    fn of(sandbox: &Sandbox, what: &OsStr, args: &[&str], size: (u16, u16)) -> Self {
        // The program becomes the leader of a session that has this terminal.
        let mut command = Command::new("setsid");
        command
            .arg("--ctty")
            .arg(what)
            .args(args)
            .env_clear()
            .env("HOME", sandbox.home())
            .env("PATH", "/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .env("TERM", "xterm-256color")
            .current_dir(sandbox.home());
        Self::run(command, size)
    }

    fn run(mut command: Command, (columns, rows): (u16, u16)) -> Self {
        // A program that had the other side as well would never see it closed.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags).expect("a terminal");
        grantpt(&ours).expect("granted");
        unlockpt(&ours).expect("unlocked");
        let name = ptsname(&ours, Vec::new()).expect("its name");
        let path = name.to_str().expect("a path").to_owned();
        let theirs = File::options().read(true).write(true).open(path).expect("its other side");
        tcsetwinsize(&theirs, winsize(columns, rows)).expect("a size");
        let before = tcgetattr(&theirs).expect("its modes");
        let stream = || Stdio::from(theirs.try_clone().expect("a copy"));
        let started = Instant::now();
        command.stdin(stream()).stdout(stream()).stderr(stream());
        let child = command.spawn().expect("the program starts");
        let parser = vt100::Parser::new(cells(rows), cells(columns), 0);
        Self { child, ours: File::from(ours), theirs, before, parser, started }
    }

    /// Time since the program was started.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What is on the screen now.
    pub fn screen(&self) -> String {
        self.parser.screen().contents()
    }

    /// Waits until `condition` holds for the screen.
    ///
    /// # Panics
    /// When it does not in time.
    #[track_caller]
    pub fn until<T>(&mut self, what: &str, condition: impl Fn(&str) -> Option<T>) -> T {
        self.sees(what, PATIENCE, |seat| condition(&seat.screen()))
    }

    /// As [`Self::until`], for one row of the screen, counted from zero.
    ///
    /// # Panics
    /// As there.
    #[track_caller]
    pub fn until_in_row<T>(&mut self, row: u16, condition: impl Fn(&str) -> Option<T>) -> T {
        let what = format!("something in row {row}");
        self.sees(&what, PATIENCE, |seat| condition(&seat.row(row)))
    }

    /// What a row of the screen shows now.
    pub fn row(&self, row: u16) -> String {
        let screen = self.parser.screen();
        screen.rows(0, screen.size().1.get()).nth(usize::from(row)).unwrap_or_default()
    }

    #[track_caller]
    fn sees<T>(
        &mut self,
        what: &str,
        bound: Duration,
        condition: impl Fn(&Self) -> Option<T>,
    ) -> T {
        let begun = Instant::now();
        loop {
            if let Some(value) = condition(self) {
                return value;
            }
            assert!(begun.elapsed() < bound, "in vain for {what}:\n{}", self.screen());
            self.read(Duration::from_millis(100));
        }
    }

    /// Waits until the screen shows `words`.
    #[track_caller]
    pub fn shows(&mut self, words: &str) {
        self.until(words, |screen| screen.contains(words).then_some(()));
    }

    /// As [`Self::shows`], for what may take longer than most things.
    #[track_caller]
    pub fn shows_within(&mut self, words: &str, bound: Duration) {
        self.sees(words, bound, |seat| seat.screen().contains(words).then_some(()));
    }

    /// Takes what the program wrote, waiting for it that long at most; whether it may write more.
    fn read(&mut self, bound: Duration) -> bool {
        let bound = Timespec::try_from(bound).expect("a short time");
        let mut waits = [PollFd::new(&self.ours, PollFlags::IN)];
        if poll(&mut waits, Some(&bound)).unwrap_or(0) == 0 {
            return true;
        }
        let mut piece = [0; 16 * 1024];
        match (&self.ours).read(&mut piece) {
            Ok(count) if count > 0 => {
                self.parser.process(piece.get(..count).unwrap_or_default());
                true
            }
            _ => false,
        }
    }

    /// Types keys.
    ///
    /// # Panics
    /// When nobody reads them.
    pub fn types(&mut self, keys: &str) {
        self.ours.write_all(keys.as_bytes()).expect("the terminal is open");
    }

    /// Waits until so many bytes were typed that nobody has read.
    ///
    /// # Panics
    /// When there are not in time.
    #[track_caller]
    pub fn has_unread(&self, bytes: u64) {
        crate::wait_until("the keys", PATIENCE, || {
            (ioctl_fionread(&self.theirs).expect("a terminal") == bytes).then_some(())
        });
    }

    /// Makes the terminal another size.
    ///
    /// # Panics
    /// When it cannot have it.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        tcsetwinsize(&self.ours, winsize(columns, rows)).expect("a size");
        self.parser.screen_mut().set_size(cells(rows), cells(columns));
    }

    /// Process id of the program.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(0)
    }

    /// Takes what the program writes for so long.
    pub fn watches(&mut self, span: Duration) {
        let end = Instant::now() + span;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.read(left);
        }
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        crate::procs::signal(i32::try_from(self.child.id()).unwrap_or(0), signal);
    }

    /// Waits for the end and asserts that the terminal is as it was; the exit code, and what is on
    /// the screen then.
    ///
    /// # Panics
    /// When the program does not end, or leaves the terminal otherwise.
    #[track_caller]
    pub fn ends(mut self) -> (Option<i32>, String) {
        let code = self.ended();
        (code, self.screen())
    }

    /// Quits the TUI with Ctrl-Q, of which the workers that it loaded are stopped or kept warm, as
    /// `keeps` says; what is on the screen then.
    ///
    /// # Panics
    /// As [`Self::ends`], and when it does not end well.
    #[track_caller]
    pub fn quits(mut self, keeps: bool) -> String {
        self.types("\u{11}");
        self.shows("keep them warm");
        self.types(if keeps { "k" } else { "s" });
        let (code, screen) = self.ends();
        assert_eq!(code, Some(0), "{screen}");
        screen
    }

    /// As [`Self::ends`]; the line that was typed and is left to whoever reads next.
    ///
    /// # Panics
    /// As there, and when there is none.
    #[track_caller]
    pub fn ends_with_unread(mut self) -> String {
        let _ = self.ended();
        let mut line = String::new();
        while !line.ends_with('\n') {
            let bound = Timespec::try_from(PATIENCE).expect("a time");
            let mut waits = [PollFd::new(&self.theirs, PollFlags::IN)];
            let ready = poll(&mut waits, Some(&bound)).unwrap_or(0);
            assert!(ready > 0, "nothing is left but {line:?}");
            let mut piece = [0; 256];
            let count = (&self.theirs).read(&mut piece).expect("readable");
            line.push_str(&String::from_utf8_lossy(piece.get(..count).unwrap_or_default()));
        }
        line
    }

    #[track_caller]
    fn ended(&mut self) -> Option<i32> {
        let begun = Instant::now();
        let status = loop {
            self.read(Duration::from_millis(20));
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end:\n{}", self.screen());
        };
        // What it wrote last may still be in the terminal.
        while self.read(Duration::ZERO) && self.has_more() {}
        self.assert_restored();
        status.code()
    }

    /// Asserts that the terminal is as it was before the program began.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn assert_restored(&self) {
        let screen = self.parser.screen();
        assert!(!screen.alternate_screen(), "the screen of before is back");
        assert!(!screen.hide_cursor(), "the cursor is seen");
        assert!(!screen.bracketed_paste(), "pasted text is not marked");
        let modes = |termios: &Termios| (termios.local_modes, termios.input_modes);
        let after = tcgetattr(&self.theirs).expect("its modes");
        assert_eq!(modes(&after), modes(&self.before), "keys are taken as before");
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None, "no mouse");
    }

    /// Closes the terminal, as somebody does who closes its window; the exit code.
    ///
    /// # Panics
    /// When the program does not end.
    pub fn hangs_up(mut self) -> Option<i32> {
        // Nobody is at its other side from now on.
        self.ours = File::open("/dev/null").expect("nothing");
        crate::wait_until("the program ends", PATIENCE, || {
            self.child.try_wait().expect("it can be waited for")
        })
        .code()
    }

    fn has_more(&self) -> bool {
        let mut waits = [PollFd::new(&self.ours, PollFlags::IN)];
        poll(&mut waits, Some(&Timespec::default())).unwrap_or(0) > 0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
