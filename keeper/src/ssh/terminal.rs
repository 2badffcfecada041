//! The person at the terminal, also while standard input and output are pipes.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, PipeReader, Read, Write};

use futures_util::future::BoxFuture;
use rpassword::ConfigBuilder;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use tokio::sync::{Mutex, oneshot};
use wire::text::one_line;
use zeroize::Zeroizing;

use super::person::{NewHostKey, Person};

/// The terminal of this process, whatever its standard streams are.
const TTY: &str = "/dev/tty";
/// What Ctrl-C sends.
const CTRL_C: u8 = 3;
/// How often something that is neither yes nor no is asked again.
const MAX_UNCLEAR: usize = 3;
/// Bytes of a question.
const MAX_QUESTION_BYTES: usize = 1024;

/// Asks at the terminal, one question after the other.
#[derive(Debug, Default)]
pub struct Terminal {
    turn: Mutex<()>,
}

impl Person for Terminal {
    fn trusts<'a>(&'a self, key: &'a NewHostKey) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let _turn = self.turn.lock().await;
            let again = || "Please type yes or no: ".to_owned();
            let questions = std::iter::once(introduction(key)).chain(std::iter::repeat_with(again));
            for question in questions.take(MAX_UNCLEAR) {
                let Some(answer) = ask(question, true).await else { return false };
                match answer.trim().to_ascii_lowercase().as_str() {
                    "yes" => return true,
                    "no" => return false,
                    _ => {}
                }
            }
            false
        })
    }

    fn answers<'a>(
        &'a self,
        prompt: &'a str,
        echo: bool,
    ) -> BoxFuture<'a, Option<Zeroizing<String>>> {
        Box::pin(async move {
            let _turn = self.turn.lock().await;
            ask(one_line(prompt, MAX_QUESTION_BYTES), echo).await
        })
    }
}

fn introduction(key: &NewHostKey) -> String {
    let clean = |text: &str| one_line(text, MAX_QUESTION_BYTES);
    format!(
        "The host key of {} is not known here.\nIt shows {} {}\nIs that the right one (yes/no)? ",
        clean(&key.host),
        clean(&key.algorithm),
        clean(&key.fingerprint)
    )
}

/// Puts the terminal back as it was, also when a question is given up half-way.
struct Restore(Option<(File, Termios)>);

impl Restore {
    fn new() -> Self {
        let tty = File::open(TTY).ok();
        Self(tty.and_then(|tty| tcgetattr(&tty).ok().map(|state| (tty, state))))
    }

    fn now(&self) {
        if let Some((tty, state)) = &self.0 {
            let _ = tcsetattr(tty, OptionalActions::Now, state);
        }
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        self.now();
    }
}

/// Keys as they are typed, until the question is given up: what is typed from then on is for
/// others. Ctrl-C is passed on only when the terminal is as it was: it may end the program at once,
/// and the person would see nothing any more of what they type.
struct Keys {
    tty: File,
    restore: Restore,
    /// Ends when nobody waits for the answer any more.
    wanted: PipeReader,
}

impl Read for Keys {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut waits =
            [PollFd::new(&self.tty, PollFlags::IN), PollFd::new(&self.wanted, PollFlags::empty())];
        poll(&mut waits, None)?;
        let [_, wanted] = &waits;
        if !wanted.revents().is_empty() {
            return Err(io::Error::other("nobody waits for the answer any more"));
        }
        let count = self.tty.read(into)?;
        if into.iter().take(count).any(|key| *key == CTRL_C) {
            self.restore.now();
            kill_process(getpid(), Signal::INT)?;
            return Err(io::Error::other("interrupted"));
        }
        Ok(count)
    }
}

/// One line that is typed; nothing without a terminal, at its end or after Ctrl-C.
async fn ask(question: String, echo: bool) -> Option<Zeroizing<String>> {
    let _restore = Restore::new();
    let (sender, answer) = oneshot::channel();
    let (wanted, _wanting) = io::pipe().ok()?;
    // A thread of its own: one of the runtime's would hold up the end of the program until Return
    // is pressed.
    let thread = std::thread::Builder::new().name("question".into());
    thread
        .spawn(move || {
            let read =
                if echo { read_line(&question, wanted) } else { read_secret(&question, wanted) };
            let _ = sender.send(read.ok());
        })
        .ok()?;
    answer.await.ok().flatten()
}

fn read_secret(question: &str, wanted: PipeReader) -> io::Result<Zeroizing<String>> {
    let mut tty = OpenOptions::new().read(true).write(true).open(TTY)?;
    let restore = Restore::new();
    let mut silent = tcgetattr(&tty)?;
    silent
        .local_modes
        .remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
    silent.special_codes[SpecialCodeIndex::VMIN] = 1;
    silent.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(&tty, OptionalActions::Now, &silent)?;
    let keys = Keys { tty: tty.try_clone()?, restore, wanted };
    let config = ConfigBuilder::new().input_reader(keys).output_writer(tty.try_clone()?).build();
    let answer = rpassword::prompt_password_with_config(question, config).map(Zeroizing::new);
    tty.write_all(b"\n")?;
    answer
}

fn read_line(question: &str, wanted: PipeReader) -> io::Result<Zeroizing<String>> {
    let mut tty = OpenOptions::new().read(true).write(true).open(TTY)?;
    tty.write_all(question.as_bytes())?;
    let mut line = Zeroizing::new(String::new());
    let keys = Keys { tty, restore: Restore(None), wanted };
    if BufReader::new(keys).read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(line)
}
