//! Lines over time: the clock is tokio's own, paused.

use futures_util::StreamExt;
use serde::Deserialize;

use super::*;

const HEARTBEAT: Duration = Duration::from_secs(3);

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

/// One line of the body and how long it took to come.
async fn line(
    stream: &mut (impl Stream<Item = Result<Bytes, Fault>> + Unpin),
) -> Option<(Value, Duration)> {
    let begun = Instant::now();
    let bytes = stream.next().await?.unwrap();
    Some((serde_json::from_slice(&bytes).unwrap(), begun.elapsed()))
}

#[tokio::test(start_paused = true)]
async fn the_first_line_is_at_once_then_changes_at_once_then_heartbeats() {
    let sender = watch::Sender::new(Value::Steady(1));
    let mut stream = Box::pin(lines(sender.subscribe(), HEARTBEAT));
    assert_eq!(line(&mut stream).await, Some((Value::Steady(1), Duration::ZERO)));
    assert_eq!(line(&mut stream).await, Some((Value::Steady(1), HEARTBEAT)));
    sender.send_replace(Value::Steady(2));
    assert_eq!(line(&mut stream).await, Some((Value::Steady(2), Duration::ZERO)));
}

#[tokio::test(start_paused = true)]
async fn progress_is_at_most_ten_lines_a_second_and_its_end_is_at_once() {
    let sender = watch::Sender::new(Value::Progress(0));
    let mut stream = Box::pin(lines(sender.subscribe(), HEARTBEAT));
    line(&mut stream).await;
    let begun = Instant::now();
    let writer = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        for n in 1..=1000 {
            ticks.tick().await;
            sender.send_replace(Value::Progress(n));
        }
        sender.send_replace(Value::Steady(0));
        sender
    });
    let mut count = 0;
    while line(&mut stream).await.unwrap().0.is_progress() {
        count += 1;
    }
    assert!((5..=11).contains(&count), "{count} lines");
    assert!(begun.elapsed() < Duration::from_millis(1010));
    drop(writer.await.unwrap());
    assert_eq!(line(&mut stream).await, None);
}

#[tokio::test(start_paused = true)]
async fn nothing_follows_the_last_line() {
    let sender = watch::Sender::new(Value::Steady(1));
    let mut stream = Box::pin(lines(sender.subscribe(), HEARTBEAT));
    line(&mut stream).await;
    sender.send_replace(Value::Last);
    assert_eq!(line(&mut stream).await.unwrap().0, Value::Last);
    assert_eq!(line(&mut stream).await, None);
}
