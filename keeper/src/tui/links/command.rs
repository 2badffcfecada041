//! Any command of this program as it would be typed, with what it says.

use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::mpsc;
use wire::ndjson::LineBuffer;
use wire::{Code, Fault};

use super::told::Told;
use crate::role;
use crate::tui::records::Line;
use crate::tui::rows::Kind;

/// Bytes that are read at once.
const READ_BYTES: usize = 16 * 1024;
/// Bytes of one line; one that is longer is for a file.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// Runs it to its end, or until nobody wants it any more. It has no terminal: what it would ask
/// for, it refuses with what to type.
///
/// # Errors
/// `IO_ERROR` when it cannot be started or heard.
pub async fn run(
    words: &[String],
    told: &Told,
    given_up: &mut mpsc::Receiver<()>,
) -> Result<String, Fault> {
    let failed = |error: std::io::Error| {
        Fault::new(Code::Io, "rbee cannot be started from here").cause(error).hint("rbee doctor")
    };
    let mut child = Command::new(role::own_program())
        .args(words)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let heard = async {
        let (out, aside) =
            tokio::join!(pass(stdout, Kind::Text, told), pass(stderr, Kind::Muted, told));
        out.and(aside)
    };
    tokio::select! {
        heard = heard => heard?,
        // Dropping it ends it.
        Some(()) = given_up.recv() => return Ok("ended".to_owned()),
    }
    let status = child.wait().await.map_err(failed)?;
    Ok(if status.success() { String::new() } else { format!("it ended with {status}") })
}

async fn pass(from: Option<impl AsyncRead + Unpin>, kind: Kind, told: &Told) -> Result<(), Fault> {
    let Some(mut from) = from else { return Ok(()) };
    let (mut buffer, mut bytes) = (LineBuffer::with_limit(MAX_LINE_BYTES), vec![0; READ_BYTES]);
    loop {
        let read = from.read(&mut bytes).await;
        let read = read.map_err(|error| Fault::new(Code::Io, "it cannot be heard").cause(error))?;
        let mut lines = Vec::new();
        let mut take = |line: &[u8]| {
            lines.push(Line::new(&String::from_utf8_lossy(line), kind));
            Ok(())
        };
        if read == 0 {
            // What has no end of its own has one now.
            if buffer.has_partial_line() {
                buffer.push(b"\n", &mut take)?;
            }
        } else {
            buffer.push(bytes.get(..read).unwrap_or_default(), &mut take)?;
        }
        for line in lines {
            // Nobody takes it when the screen is gone; then this ends soon as well.
            let _ = told.lines.send(line).await;
        }
        if read == 0 {
            return Ok(());
        }
    }
}
