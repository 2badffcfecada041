//! Whether the line to a machine is so slow that what is sent over it is compressed.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use wire::Fault;

use super::Host;
use super::script::{Running, Script};

/// Bytes a second from which a program is sent as it is. That takes a few seconds then; compressing
/// it would take two of this machine once, and unpacking it a part of one wherever it arrives.
const FAST_BYTES_PER_SECOND: f64 = 10e6;
/// What samples are made of: a shell that reads them by mistake does nothing.
const COMMENT: &str = "# how fast is this line? # how fast is this line? how fast is it\n";
/// Times that the comment is in a sample: once to see what takes long beside the line, and so often
/// that a fast line shows itself, yet little beside a program.
const COMMENTS: [usize; 2] = [1, 4000];

/// Measures the line. One that cannot be measured counts as slow.
///
/// # Errors
/// `HIVE_UNREACHABLE` when the connection ends.
pub async fn is_slow(host: &Host) -> Result<bool, Fault> {
    let [few, many] = COMMENTS.map(|count| COMMENT.repeat(count));
    let script = Script::new("measure", &[include_str!("scripts/line.sh")])
        .given("few", few.len())
        .given("many", many.len());
    let mut running = script.stays().run(host).await?;
    running.answer().await?;
    let samples = async {
        let few = arrival(&mut running, &few).await?;
        Some((few, arrival(&mut running, &many).await?))
    };
    match tokio::time::timeout(host.silence, samples).await {
        Ok(Some((idle, took))) => {
            running.rest();
            Ok(is_too_slow(many.len(), took.saturating_sub(idle)))
        }
        _ => Ok(true),
    }
}

/// How long it takes until a sample has arrived; none when it does not.
async fn arrival(running: &mut Running, sample: &str) -> Option<Duration> {
    let began = Instant::now();
    running.input.write_all(sample.as_bytes()).await.ok()?;
    running.input.flush().await.ok()?;
    running.lines.next().await.ok()??;
    Some(began.elapsed())
}

fn is_too_slow(bytes: usize, took: Duration) -> bool {
    let bytes = u32::try_from(bytes).map_or(f64::INFINITY, f64::from);
    bytes < took.as_secs_f64() * FAST_BYTES_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_one_of_comments_and_tells_slow_lines_from_fast_ones() {
        let [few, many] = COMMENTS.map(|count| COMMENT.repeat(count));
        assert!(many.lines().all(|line| line.starts_with('#')) && few.ends_with('\n'));
        let (megabyte, second) = (1_000_000, Duration::from_secs(1));
        assert!(is_too_slow(megabyte, second), "a line of 8 Mbit/s");
        assert!(is_too_slow(megabyte, second / 9));
        assert!(!is_too_slow(megabyte, second / 11), "100 Mbit/s are the border");
        assert!(!is_too_slow(megabyte, Duration::ZERO), "faster than can be measured");
    }
}
