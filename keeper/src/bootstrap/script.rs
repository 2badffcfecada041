//! One script on the other machine: sent to `/bin/sh`, its own lines told from everybody else's.

use std::fmt::Write as _;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::io::{AsyncWriteExt, BufReader, ReadBuf};
use tokio::task::JoinHandle;
use wire::marker::Marker;
use wire::{Code, Fault, text};

use super::Host;
use crate::ssh::{Ended, Session, Shell, Stream};

/// What every script begins with.
const FRAME: &str = include_str!("scripts/frame.sh");
/// Bytes that others may print before and between our lines: a login's greeting.
const MAX_NOISE_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of one line of ours.
const MAX_LINE_BYTES: usize = 64 * 1024;
/// Bytes of the last words on standard error that are kept.
const MAX_ERRORS_BYTES: usize = 16 * 1024;
/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// How long the last words of a shell that ended may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A script and what it is given.
#[derive(Debug, Clone)]
pub struct Script {
    /// What it does, for a person: `probe`.
    pub step: &'static str,
    given: Vec<(&'static str, String)>,
    parts: Vec<&'static str>,
    stays: bool,
}

impl Script {
    /// A script that does `step`. At its end the shell ends.
    pub fn new(step: &'static str, parts: &[&'static str]) -> Self {
        Self { step, given: Vec::new(), parts: parts.to_vec(), stays: false }
    }

    /// At its end the shell waits for the next script; see [`Running::rest`]. Nothing that it sets
    /// may change what the next one does.
    #[must_use]
    pub fn stays(self) -> Self {
        Self { stays: true, ..self }
    }

    /// Gives it a value as a variable. The value is one word, whatever is in it.
    #[must_use]
    pub fn given(mut self, name: &'static str, value: impl std::fmt::Display) -> Self {
        self.given.push((name, value.to_string()));
        self
    }

    /// The whole text. It is one group, which a shell reads to its end before it does anything:
    /// what is sent behind it belongs to the programs of the script.
    fn text(&self, marker: &Marker, shared: &str) -> String {
        let mut text = "{\nset -u\n".to_owned();
        let own = [("marker", marker.as_str()), ("shared", shared)];
        let given = self.given.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in own.into_iter().chain(given) {
            let _infallible = writeln!(text, "{name}={}", text::shell_word(value));
        }
        text.push_str(FRAME);
        for part in &self.parts {
            text.push_str(part);
        }
        text.push_str(if self.stays { "}\n" } else { "exit 0\n}\n" });
        text
    }

    /// Starts it, in the shell that waits for one if there is such a shell.
    ///
    /// # Errors
    /// `HIVE_UNREACHABLE` when the connection ends.
    pub async fn run(&self, host: &Host) -> Result<Running, Fault> {
        let marker = Marker::random();
        let text = self.text(&marker, &host.shared);
        let idle = match host.waiting.take() {
            Some(idle) => idle,
            None => Idle::new(
                tokio::time::timeout(host.silence, host.session.shell())
                    .await
                    .map_err(|_late| silent(host, self.step))??,
            ),
        };
        let mut running = Running {
            host: host.clone(),
            step: self.step,
            input: idle.input,
            lines: Lines { output: idle.output, marker, noise: 0 },
            errors: idle.errors,
            ended: idle.ended,
        };
        let sent = async {
            running.input.write_all(text.as_bytes()).await?;
            running.input.flush().await
        };
        let sent = tokio::time::timeout(host.silence, sent).await;
        match sent.map_err(|_late| silent(host, self.step))? {
            Ok(()) => Ok(running),
            Err(_) => Err(running.broken().await),
        }
    }
}

/// A shell that has done what it was told and waits for the next script.
struct Idle {
    input: Pin<Box<dyn AsyncWrite + Send>>,
    output: BufReader<Pin<Box<dyn AsyncRead + Send>>>,
    errors: Errors,
    ended: BoxFuture<'static, Ended>,
}

impl Idle {
    fn new(shell: Shell) -> Self {
        Self {
            input: shell.input,
            output: BufReader::with_capacity(CHUNK_BYTES, shell.output),
            errors: Errors(tokio::spawn(tail(shell.errors))),
            ended: shell.ended,
        }
    }
}

/// Where the shell of a connection waits for its next script, if one does: a login costs more than
/// most scripts.
#[derive(Clone, Default)]
pub struct Waiting(Arc<Mutex<Option<Idle>>>);

impl Waiting {
    /// The shell, when it has not ended meanwhile.
    fn take(&self) -> Option<Idle> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        (&mut idle.ended).now_or_never().is_none().then_some(idle)
    }

    fn put(&self, idle: Idle) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(idle);
    }
}

fn silent(host: &Host, step: &str) -> Fault {
    let what = format!("{step}: nothing was heard for {} s", host.silence.as_secs_f32());
    host.fault(Code::HiveUnreachable, what).hint(host.doctor())
}

/// Standard error is read by a task of its own: a stream that nobody reads stalls all others.
struct Errors(JoinHandle<Vec<u8>>);

impl Drop for Errors {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn tail(mut errors: Pin<Box<dyn AsyncRead + Send>>) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(count @ 1..) = errors.read(&mut chunk).await {
        kept.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let surplus = kept.len().saturating_sub(MAX_ERRORS_BYTES);
        kept.drain(..surplus);
    }
    kept
}

/// Standard output, as lines of ours and everything else.
pub struct Lines {
    output: BufReader<Pin<Box<dyn AsyncRead + Send>>>,
    marker: Marker,
    noise: usize,
}

impl Lines {
    /// The next line of ours, without its marker; none at the end.
    ///
    /// # Errors
    /// When the stream breaks, or others print without end.
    pub async fn next(&mut self) -> io::Result<Option<String>> {
        loop {
            let Some(line) = self.raw().await? else { return Ok(None) };
            if let Some(text) = self.marker.text(&line) {
                return Ok(Some(text.to_owned()));
            }
            self.noise += line.len() + 1;
            if self.noise > MAX_NOISE_BYTES {
                return Err(io::Error::other("the login prints without end"));
            }
        }
    }

    /// The next line, whoever printed it. What exceeds a line's bound is left out.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn raw(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let mut length = 0;
        loop {
            let bytes = self.output.fill_buf().await?;
            if bytes.is_empty() {
                let text = String::from_utf8_lossy(&line).into_owned();
                return Ok((!line.is_empty()).then_some(text));
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
            let room = MAX_LINE_BYTES.saturating_sub(line.len());
            line.extend(part.iter().take(room));
            let used = part.len() + usize::from(end.is_some());
            self.output.consume(used);
            if end.is_some() {
                if line.ends_with(b"\r") {
                    line.pop();
                }
                let text = String::from_utf8_lossy(&line).into_owned();
                return Ok(Some(text));
            }
            length += used;
            if length > MAX_NOISE_BYTES {
                return Err(io::Error::other("a line without end"));
            }
        }
    }
}

/// A script that runs. Dropping it closes its channel.
pub struct Running {
    /// Where it runs.
    pub host: Host,
    /// What it does.
    pub step: &'static str,
    /// Its standard input, which belongs to the script's programs once it said its first line.
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
    /// What it prints.
    pub lines: Lines,
    errors: Errors,
    ended: BoxFuture<'static, Ended>,
}

impl Running {
    /// Leaves the shell of a script that stays, and has said its last line, to the next script.
    pub fn rest(self) {
        let Self { host, input, lines, errors, ended, .. } = self;
        host.waiting.put(Idle { input, output: lines.output, errors, ended });
    }

    /// The next line of ours; none at the end.
    ///
    /// # Errors
    /// `HIVE_UNREACHABLE` when nothing comes, or the connection ends.
    pub async fn next(&mut self) -> Result<Option<String>, Fault> {
        match tokio::time::timeout(self.host.silence, self.lines.next()).await {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(error)) => Err(self.unreadable(&error)),
            Err(_late) => Err(silent(&self.host, self.step)),
        }
    }

    /// The next line of ours, of which there must be one more, taken apart at its first `=`.
    ///
    /// # Errors
    /// As [`Self::next`]; what the shell said when it ended instead.
    pub async fn answer(&mut self) -> Result<(String, String), Fault> {
        match self.next().await? {
            Some(line) => Ok(taken_apart(&line)),
            None => Err(self.broken().await),
        }
    }

    /// What it means that its output cannot be read.
    pub fn unreadable(&self, error: &io::Error) -> Fault {
        let what = format!("{} was cut off", self.step);
        let fault = self.host.fault(Code::HiveUnreachable, what).cause(error);
        fault.hint(self.host.doctor())
    }

    /// How the shell ended, and its last words on standard error.
    pub async fn end(&mut self) -> (Ended, String) {
        let words = tokio::time::timeout(LAST_WORDS, &mut self.errors.0).await;
        let words = words.ok().and_then(Result::ok).unwrap_or_default();
        let ended = tokio::time::timeout(LAST_WORDS, &mut self.ended).await;
        (ended.unwrap_or(Ended::Lost), String::from_utf8_lossy(&words).into_owned())
    }

    /// What it means that the script ended before it said what was waited for.
    pub async fn broken(&mut self) -> Fault {
        let (ended, words) = self.end().await;
        let (code, how) = match ended {
            Ended::Lost => (Code::HiveUnreachable, "the connection ended".to_owned()),
            Ended::Exit(status) => (Code::AgentFailed, format!("/bin/sh ended with {status}")),
            Ended::Signal(name) => (
                Code::AgentFailed,
                format!("/bin/sh was ended by SIG{}", text::one_line(&name, 16)),
            ),
        };
        let fault = self.host.fault(code, format!("{}: {how}", self.step));
        last_lines(&words, 4).fold(fault, Fault::cause).hint(self.host.doctor())
    }

    /// The bytes of the program that the script became. What was read too far comes first.
    pub fn into_stream(self) -> Stream {
        Box::new(Carried {
            output: self.lines.output,
            input: self.input,
            _errors: self.errors,
            _session: self.host.session,
        })
    }
}

/// The last lines of a text that say something.
pub fn last_lines(words: &str, count: usize) -> impl Iterator<Item = &str> {
    let lines: Vec<&str> = words.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(count);
    lines.into_iter().skip(from)
}

/// A line at its first `=`; without one all of it is the name.
pub fn taken_apart(line: &str) -> (String, String) {
    let (name, value) = line.split_once('=').unwrap_or((line, ""));
    (name.to_owned(), value.to_owned())
}

/// The standard streams of a program there.
struct Carried {
    output: BufReader<Pin<Box<dyn AsyncRead + Send>>>,
    input: Pin<Box<dyn AsyncWrite + Send>>,
    _errors: Errors,
    _session: Arc<dyn Session>,
}

impl AsyncRead for Carried {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_read(cx, buf)
    }
}

impl AsyncWrite for Carried {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.input.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().poll_shutdown(cx)
    }
}
