//! Whether a login there prints what nobody asked for.

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use wire::doctor::{Check, Verdict};
use wire::{Code, Fault, text};

use super::checks;
use crate::bootstrap::Host;
use crate::output::clock::duration;

/// What the check is called.
pub const NAME: &str = "shell";
/// Bytes of what a shell prints that are read.
const MAX_OUTPUT_BYTES: u64 = 64 * 1024;
/// Bytes of noise that are shown.
const MAX_NOISE_BYTES: usize = 120;
/// What the shell is asked to print, and how that is asked.
const ANSWER: &str = "rbee-looks-here";
const QUESTION: &[u8] = b"printf '%s-%s-%s' rbee looks here\nexit 0\n";

/// Starts a shell, and looks at what it prints beside the answer.
///
/// # Errors
/// `HIVE_UNREACHABLE` when there is no answer.
pub async fn check(host: &Host) -> Result<Check, Fault> {
    let began = Instant::now();
    let talk = async {
        let mut shell = host.session.shell().await?;
        let lost = |error| Fault::new(Code::HiveUnreachable, "its shell ended").cause(error);
        shell.input.write_all(QUESTION).await.map_err(lost)?;
        shell.input.shutdown().await.map_err(lost)?;
        let (mut said, mut complained) = (Vec::new(), Vec::new());
        let mut output = shell.output.take(MAX_OUTPUT_BYTES);
        let mut errors = shell.errors.take(MAX_OUTPUT_BYTES);
        let both = tokio::join!(output.read_to_end(&mut said), errors.read_to_end(&mut complained));
        both.0.and(both.1).map_err(lost)?;
        Ok::<_, Fault>([said, complained])
    };
    let silent = |_late| Fault::new(Code::HiveUnreachable, "its shell says nothing");
    let [said, complained] = timeout(host.silence, talk).await.map_err(silent)??;
    let took = duration(began.elapsed());
    verdict(&String::from_utf8_lossy(&said), &String::from_utf8_lossy(&complained), &took)
}

fn verdict(said: &str, complained: &str, took: &str) -> Result<Check, Fault> {
    let Some((before, after)) = said.split_once(ANSWER) else {
        let fault = Fault::new(Code::HiveUnreachable, "/bin/sh does not do what it is told");
        return Err(fault.cause(said).cause(complained));
    };
    let noise = [before, after, complained].map(str::trim).join(" ");
    let noise = noise.trim();
    if noise.is_empty() {
        return Ok(checks::check(NAME, Verdict::Ok, format!("/bin/sh answers in {took}, clean")));
    }
    let noise = text::one_line(noise, MAX_NOISE_BYTES);
    let seen = format!("/bin/sh answers in {took}; a login prints what is passed over: {noise}");
    Ok(checks::check(NAME, Verdict::Ok, seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_login_prints_is_told_from_the_answer() {
        let seen = |said, complained| verdict(said, complained, "1 ms").unwrap().seen;
        assert!(seen(ANSWER, "").ends_with("clean"));
        let noisy = seen("Welcome\u{1b}[2J\nrbee-looks-here", "stty: no tty");
        assert!(noisy.contains("Welcome [2J  stty: no tty"), "{noisy}");
        assert!(verdict("This account is locked", "", "1 ms").is_err());
    }
}
