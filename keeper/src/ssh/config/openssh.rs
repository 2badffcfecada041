//! Asking OpenSSH what counts (`ssh -G`).

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use wire::text::{one_line, shell_word};
use wire::{Code, Fault};

use super::Around;
use super::options::Options;
use crate::ssh::address::Address;

/// Bytes of the longest answer: it has about a hundred lines.
const MAX_ANSWER_BYTES: u64 = 1024 * 1024;
/// Bytes of its complaint that are kept.
const MAX_ERROR_BYTES: u64 = 16 * 1024;

/// The options for `address`; nothing when this is not an OpenSSH that can say them. A `Match exec`
/// of the configuration may ask anything, so it gets no longer than `longest`.
///
/// # Errors
/// `INVALID_CONFIG` when it refuses its configuration or does not answer.
pub(super) async fn ask(
    program: &Path,
    around: &Around,
    address: &Address,
    longest: Duration,
) -> Result<Option<Options>, Fault> {
    let mut command = Command::new(program);
    // -T: no word about a terminal that is not there.
    command.args(["-G", "-T"]);
    if let Some(config) = &around.config {
        command.arg("-F").arg(config);
    }
    if let Some(user) = address.user() {
        command.args(["-l", user]);
    }
    if let Some(port) = address.port() {
        command.args(["-p", &port.to_string()]);
    }
    command.args(["--", address.host()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let cannot = |error: std::io::Error| {
        let message = format!("{} cannot be run", program.display());
        Fault::new(Code::InvalidConfig, message).cause(error).hint("ssh -V")
    };
    let mut child = command.spawn().map_err(cannot)?;
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let answer = async {
        let (output, errors) =
            tokio::join!(text(output, MAX_ANSWER_BYTES), text(errors, MAX_ERROR_BYTES));
        Ok((output?, errors?, child.wait().await?))
    };
    match tokio::time::timeout(longest, answer).await {
        Ok(Ok((output, errors, status))) => judge(&output, &errors, status, address),
        Ok(Err(error)) => Err(cannot(error)),
        Err(_) => {
            let message = format!("`ssh -G` did not answer for {address} within {longest:?}");
            let fault = Fault::new(Code::InvalidConfig, message).hint(ask_again(address));
            Err(fault.cause("a `Match exec` of the ssh configuration may not end"))
        }
    }
}

/// The beginning of a stream; the rest is read and forgotten, so that its writer can end.
async fn text(stream: Option<impl AsyncRead + Unpin>, most: u64) -> std::io::Result<String> {
    let Some(mut stream) = stream else { return Ok(String::new()) };
    let mut bytes = Vec::new();
    (&mut stream).take(most).read_to_end(&mut bytes).await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn ask_again(address: &Address) -> String {
    format!("ssh -G {}", shell_word(address.host()))
}

fn judge(
    output: &str,
    errors: &str,
    status: ExitStatus,
    address: &Address,
) -> Result<Option<Options>, Fault> {
    if status.success() {
        let options = parse(output);
        return Ok(options.has("hostname").then_some(options));
    }
    // An old one, or dropbear under the name of ssh.
    if errors.to_ascii_lowercase().contains("usage:") {
        return Ok(None);
    }
    let message = format!("ssh refuses its configuration for {address}");
    let mut fault = Fault::new(Code::InvalidConfig, message);
    let lines = errors.lines().map(|line| one_line(line, 512));
    for line in lines.filter(|line| !line.trim().is_empty()).take(4) {
        fault = fault.cause(line);
    }
    Err(fault.hint(place(errors).unwrap_or_else(|| ask_again(address))))
}

/// An editor at the line that ssh names: `FILE: line 7: …` or `FILE line 7: …`.
fn place(errors: &str) -> Option<String> {
    let line = errors.lines().find(|line| line.starts_with('/'))?;
    let (file, rest) = line.split_once(": line ").or_else(|| line.split_once(" line "))?;
    let (number, _) = rest.split_once(|c: char| !c.is_ascii_digit())?;
    let number: u32 = number.parse().ok()?;
    Some(format!("${{EDITOR:-vi}} +{number} {}", shell_word(file)))
}

/// One option a line: its name, a blank, its value as it is.
pub(super) fn parse(answer: &str) -> Options {
    let mut options = Options::default();
    for line in answer.lines() {
        let Some((name, value)) = line.split_once(' ') else { continue };
        if name.ends_with("knownhostsfile") {
            // Several in one line; nothing tells a blank between them from one in a name.
            value.split_ascii_whitespace().for_each(|file| options.push(name, file));
        } else {
            options.push(name, value);
        }
    }
    options
}
