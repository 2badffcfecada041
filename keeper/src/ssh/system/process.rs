//! One `ssh` that runs a shell on the other machine: started, waited for until the shell is there,
//! and ended when nobody holds its streams any more.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::complaint::End;
use crate::ssh::{Ended, Shell};

/// Bytes that a login shell may print before `/bin/sh` runs.
const MAX_NOISE_BYTES: usize = 64 * 1024;
/// Bytes of what `ssh` says before the shell is there; the rest is forgotten.
const MAX_WORDS_BYTES: usize = 16 * 1024;
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 4 * 1024;
/// How long an `ssh` that closed its output may take to end.
const ENDING: Duration = Duration::from_secs(2);
/// How long its last words are waited for after its end.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Ignores what Ctrl-C sends to everybody at the terminal, then becomes the program. So `ssh` can
/// still ask at that terminal, and a request is cancelled over a connection that is there.
const UNTOUCHED: &str = "trap '' INT QUIT; exec \"$0\" \"$@\"";

/// How an `ssh` is started.
pub(super) struct Start {
    /// The program.
    pub program: PathBuf,
    /// Everything after its name.
    pub arguments: Vec<OsString>,
    /// Whether it may ask at the terminal.
    pub may_ask: bool,
    /// How long a shell may take to be there when nobody can be asked.
    pub longest: Duration,
}

impl Start {
    /// Starts it and waits until the other machine's shell answers.
    pub(super) async fn run(&self) -> Result<Shell, End> {
        let cannot = |error: io::Error| End::NotStarted(error.to_string());
        let mut child = self.command().spawn().map_err(cannot)?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(End::NotStarted("its streams are missing".to_owned()));
        };
        let mut beginning =
            Beginning { stdin, stdout, stderr, noise: Vec::new(), words: Vec::new() };
        let there = if self.may_ask {
            beginning.wait().await
        } else {
            timeout(self.longest, beginning.wait()).await.unwrap_or(Met::Late)
        };
        match there {
            Met::Shell(rest) => Ok(beginning.shell(child, rest)),
            Met::Noise => Err(End::Noisy),
            Met::Late => Err(End::Silent(beginning.words())),
            Met::End => {
                let status = beginning.end(&mut child).await;
                Err(End::Ended(status.and_then(|status| status.code()), beginning.words()))
            }
        }
    }

    fn command(&self) -> Command {
        let mut command;
        if self.may_ask {
            // In a group of its own it would be stopped as soon as it asks.
            command = Command::new("/bin/sh");
            command.args(["-c", UNTOUCHED]).arg(&self.program);
        } else {
            command = Command::new(&self.program);
            command.process_group(0);
            // An `ssh` on the way is not in batch mode; this keeps it from the terminal.
            command.env("SSH_ASKPASS", "false").env("SSH_ASKPASS_REQUIRE", "force");
        }
        command.args(&self.arguments).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// What came of waiting for the shell.
enum Met {
    /// It is there, and this came after its first line.
    Shell(Vec<u8>),
    /// Too much came instead.
    Noise,
    /// Nothing came in time.
    Late,
    /// `ssh` closed its output.
    End,
}

/// The streams of an `ssh` whose shell is not there yet.
struct Beginning {
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: ChildStderr,
    noise: Vec<u8>,
    words: Vec<u8>,
}

impl Beginning {
    /// Lets the shell print a random word, and passes over what its machine prints before.
    async fn wait(&mut self) -> Met {
        let marker = format!("{:032x}", rand::random::<u128>());
        // If it ends first, its words say why.
        let _ = self.stdin.write_all(format!("echo {marker}\n").as_bytes()).await;
        let marker = format!("{marker}\n");
        let (mut out, mut err) = ([0; CHUNK_BYTES], [0; CHUNK_BYTES]);
        let mut has_words = true;
        loop {
            let read = tokio::select! {
                read = self.stdout.read(&mut out) => read,
                read = self.stderr.read(&mut err), if has_words => {
                    let read = read.unwrap_or(0);
                    has_words = read > 0;
                    self.keep_words(err.get(..read).unwrap_or_default());
                    continue;
                }
            };
            match read {
                Ok(0) | Err(_) => return Met::End,
                Ok(read) => self.noise.extend_from_slice(out.get(..read).unwrap_or_default()),
            }
            if let Some(at) = find(&self.noise, marker.as_bytes()) {
                return Met::Shell(self.noise.split_off(at + marker.len()));
            }
            if self.noise.len() > MAX_NOISE_BYTES {
                return Met::Noise;
            }
        }
    }

    fn keep_words(&mut self, bytes: &[u8]) {
        let free = MAX_WORDS_BYTES.saturating_sub(self.words.len());
        self.words.extend_from_slice(bytes.get(..free.min(bytes.len())).unwrap_or_default());
    }

    fn words(&self) -> String {
        String::from_utf8_lossy(&self.words).into_owned()
    }

    /// Its status, and its last words; it is killed when it does not end.
    async fn end(&mut self, child: &mut Child) -> Option<ExitStatus> {
        let ended = async {
            tokio::select! {
                status = child.wait() => status.ok(),
                // Whoever waits for its end while it waits for a reader waits for ever.
                () = self.last_words() => child.wait().await.ok(),
            }
        };
        let status = timeout(ENDING, ended).await.ok().flatten();
        // A program that it started may hold its standard error open.
        let _ = timeout(LAST_WORDS, self.last_words()).await;
        status
    }

    async fn last_words(&mut self) {
        let mut err = [0; CHUNK_BYTES];
        while let Ok(read @ 1..) = self.stderr.read(&mut err).await {
            self.keep_words(err.get(..read).unwrap_or_default());
        }
    }

    fn shell(self, child: Child, rest: Vec<u8>) -> Shell {
        let (alive, dropped) = oneshot::channel();
        let (ended, end) = oneshot::channel();
        tokio::spawn(keep(child, dropped, ended));
        let alive = Arc::new(alive);
        let hold = || Arc::clone(&alive);
        Shell {
            input: Box::pin(Input { stdin: Some(self.stdin), _alive: hold() }),
            output: Box::pin(Output {
                inner: io::Cursor::new(rest).chain(self.stdout),
                _alive: hold(),
            }),
            errors: Box::pin(Output {
                inner: io::Cursor::new(self.words).chain(self.stderr),
                _alive: hold(),
            }),
            ended: Box::pin(async move {
                let _alive = alive;
                end.await.unwrap_or(Ended::Lost)
            }),
        }
    }
}

/// Where `wanted` begins.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Held by every stream of a shell: when the last one is dropped, so is this.
type Alive = Arc<oneshot::Sender<()>>;

/// Waits for the end of an `ssh`, or makes it when nobody holds its streams any more.
async fn keep(mut child: Child, dropped: oneshot::Receiver<()>, ended: oneshot::Sender<Ended>) {
    let status = tokio::select! {
        status = child.wait() => status,
        _ = dropped => {
            // It may have ended just now.
            let _ = child.start_kill();
            child.wait().await
        }
    };
    let end = match status.ok().and_then(|status| status.code()) {
        Some(code @ 0..255) => Ended::Exit(code.unsigned_abs()),
        _ => Ended::Lost,
    };
    let _ = ended.send(end);
}

/// The shell's standard input; a pipe ends only when it is closed.
struct Input {
    stdin: Option<ChildStdin>,
    _alive: Alive,
}

impl AsyncWrite for Input {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.stdin.as_mut() {
            Some(stdin) => Pin::new(stdin).poll_write(context, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.stdin.as_mut() {
            Some(stdin) => Pin::new(stdin).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stdin = None;
        Poll::Ready(Ok(()))
    }
}

/// One of the shell's outputs.
struct Output<R> {
    inner: R,
    _alive: Alive,
}

impl<R: AsyncRead + Unpin> AsyncRead for Output<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}
