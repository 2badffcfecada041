//! Lines over time. What comes at once is there when it is first asked for.

use futures_util::{FutureExt, StreamExt};
use serde::Deserialize;

use super::*;

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Value {
    Progress(u32),
    Steady(u32),
    Last,
}

impl Live for Value {
    fn is_last(&self) -> bool {
        *self == Self::Last
    }

    fn is_progress(&self) -> bool {
        matches!(self, Self::Progress(_))
    }
}

fn value(line: Option<Result<Bytes, Fault>>) -> Option<Value> {
    line.map(|line| serde_json::from_slice(&line.unwrap()).unwrap())
}

/// What a stream has to say without being waited for.
#[derive(Debug, PartialEq)]
enum Now {
    Line(Value),
    Nothing,
    End,
}

fn at_once(lines: &mut (impl Stream<Item = Result<Bytes, Fault>> + Unpin)) -> Now {
    match lines.next().now_or_never() {
        Some(line) => value(line).map_or(Now::End, Now::Line),
        None => Now::Nothing,
    }
}

#[tokio::test]
async fn the_first_line_and_every_change_are_at_once() {
    let sender = watch::Sender::new(Value::Steady(1));
    let mut lines = Box::pin(lines(sender.subscribe(), NEVER));
    assert_eq!(at_once(&mut lines), Now::Line(Value::Steady(1)));
    assert_eq!(at_once(&mut lines), Now::Nothing);
    sender.send_replace(Value::Steady(2));
    assert_eq!(at_once(&mut lines), Now::Line(Value::Steady(2)));
}

#[tokio::test]
async fn what_does_not_change_is_said_again_every_heartbeat() {
    let heartbeat = Duration::from_millis(20);
    let sender = watch::Sender::new(Value::Steady(1));
    let mut lines = Box::pin(lines(sender.subscribe(), heartbeat));
    let begun = Instant::now();
    for _line in 0..3 {
        assert_eq!(value(lines.next().await), Some(Value::Steady(1)));
    }
    assert!(begun.elapsed() >= 2 * heartbeat);
}

#[tokio::test]
async fn progress_shares_a_line_of_its_pause_and_its_end_is_at_once() {
    let sender = watch::Sender::new(Value::Progress(0));
    let mut lines = Box::pin(lines(sender.subscribe(), NEVER));
    let begun = Instant::now();
    assert_eq!(at_once(&mut lines), Now::Line(Value::Progress(0)));
    for n in 1..=1000 {
        sender.send_replace(Value::Progress(n));
    }
    assert_eq!(value(lines.next().await), Some(Value::Progress(1000)));
    assert!(begun.elapsed() >= PROGRESS_PAUSE);
    sender.send_replace(Value::Progress(1001));
    assert_eq!(at_once(&mut lines), Now::Nothing);
    sender.send_replace(Value::Steady(0));
    assert_eq!(at_once(&mut lines), Now::Line(Value::Steady(0)));
    drop(sender);
    assert_eq!(at_once(&mut lines), Now::End);
}

#[tokio::test]
async fn nothing_follows_the_last_line() {
    let sender = watch::Sender::new(Value::Steady(1));
    let mut lines = Box::pin(lines(sender.subscribe(), NEVER));
    assert_eq!(at_once(&mut lines), Now::Line(Value::Steady(1)));
    sender.send_replace(Value::Last);
    assert_eq!(at_once(&mut lines), Now::Line(Value::Last));
    assert_eq!(at_once(&mut lines), Now::End);
}
