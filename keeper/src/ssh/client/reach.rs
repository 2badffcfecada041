//! Reaching a server: TCP to the first of its addresses that answers, or a program's standard
//! streams.

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, lookup_host};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::ssh::Stream;

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;
/// How long an address is waited for before the next one is tried beside it (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);
/// Bytes of a program's standard error that are kept: its beginning tells the cause.
const MAX_STDERR_BYTES: usize = 4096;
/// How long the standard error of a program that ended may take to arrive.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Why no byte stream came about.
#[derive(Debug)]
pub enum Unreached {
    /// The name has no address.
    NoAddress(io::Error),
    /// No address of the name answers; each with its reason.
    NoAnswer(Vec<(SocketAddr, io::Error)>),
    /// The program could not be started.
    NoProgram(io::Error),
}

/// A TCP connection to the first address of `host` that answers.
///
/// # Errors
/// When the name has no address, or none of them answers.
pub async fn tcp(host: &str, port: u16) -> Result<Stream, Unreached> {
    let found = lookup_host((host, port)).await.map_err(Unreached::NoAddress)?;
    let mut waiting = found.take(MAX_ADDRESSES).peekable();
    let mut running = FuturesUnordered::new();
    let mut refused = Vec::new();
    loop {
        if let Some(address) = waiting.next() {
            running.push(async move { (address, TcpStream::connect(address).await) });
        }
        tokio::select! {
            answer = running.next() => match answer {
                Some((_, Ok(stream))) => {
                    // Refused only for a connection that is broken already.
                    let _ = stream.set_nodelay(true);
                    crate::platform::repeat_often(&stream);
                    return Ok(Box::new(stream));
                }
                Some((address, Err(error))) => refused.push((address, error)),
                None if waiting.peek().is_none() => return Err(Unreached::NoAnswer(refused)),
                None => {}
            },
            () = sleep(HEAD_START), if waiting.peek().is_some() => {}
        }
    }
}

/// What a program wrote to its standard error.
#[derive(Debug)]
pub struct Stderr {
    text: Arc<Mutex<Vec<u8>>>,
    ended: Option<oneshot::Receiver<()>>,
}

impl Stderr {
    fn of(from: ChildStderr) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let (sender, ended) = oneshot::channel::<()>();
        let kept = Arc::clone(&text);
        tokio::spawn(async move {
            let mut from = from;
            let mut piece = [0; 512];
            let mut room = MAX_STDERR_BYTES;
            // Read to its end also when it is full: the program must not wait for a reader.
            while let Ok(count @ 1..) = from.read(&mut piece).await {
                let fits = count.min(room);
                room -= fits;
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(piece.iter().take(fits));
            }
            drop(sender);
        });
        Self { text, ended: Some(ended) }
    }

    /// Its text so far; for a program that has ended, all of it.
    pub async fn text(&mut self) -> String {
        if let Some(ended) = self.ended.take() {
            let _ = timeout(LAST_WORDS, ended).await;
        }
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Starts `command` with `/bin/sh`. Its standard streams are the connection; it is killed when what
/// keeps it is dropped.
///
/// # Errors
/// When it cannot be started.
pub fn command(command: &str) -> Result<(Stream, Box<dyn Any + Send + Sync>, Stderr), Unreached> {
    // Replaced by the program, the shell is not left behind when the program is killed. Ctrl-C is
    // for whoever reads this program's output: a request is cancelled over a connection that lives.
    let mut child: Child = Command::new("/bin/sh")
        .arg("-c")
        .arg(format!("trap '' INT QUIT; exec {command}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(Unreached::NoProgram)?;
    let (Some(input), Some(output), Some(errors)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(Unreached::NoProgram(io::ErrorKind::BrokenPipe.into()));
    };
    let stream = Box::new(tokio::io::join(output, input));
    Ok((stream, Box::new(child), Stderr::of(errors)))
}
