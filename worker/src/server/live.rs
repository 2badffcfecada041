//! NDJSON of a value that changes: now, on every change, and as heartbeat.

use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;
use wire::{Fault, ndjson};

/// Between two lines that differ only in progress: ten a second.
const PROGRESS_PAUSE: Duration = Duration::from_millis(100);

/// A value that readers follow.
pub trait Live: Serialize + Clone + Send + Sync + 'static {
    /// Whether nothing can follow it.
    fn is_last(&self) -> bool;
    /// Whether it is one figure of many, so that the next may wait until others can share its line.
    fn is_progress(&self) -> bool;
}

/// The lines that follow `value` until its last line, or until its owner is gone. A slow reader
/// misses values between two lines and never makes anyone wait.
pub fn lines<T: Live>(
    value: watch::Receiver<T>,
    heartbeat: Duration,
) -> impl Stream<Item = Result<Bytes, Fault>> + Send {
    let reader = Some(Reader { value, heartbeat, sent: None });
    futures_util::stream::unfold(reader, |reader| async {
        let mut reader = reader?;
        let now = reader.next().await?;
        let line = ndjson::encode(&now).map(Bytes::from);
        let next = (!now.is_last() && line.is_ok()).then(|| {
            reader.sent = Some((now, Instant::now()));
            reader
        });
        Some((line, next))
    })
}

struct Reader<T> {
    value: watch::Receiver<T>,
    heartbeat: Duration,
    /// The last line and its time.
    sent: Option<(T, Instant)>,
}

impl<T: Live> Reader<T> {
    /// Waits until a line is due. `None` when the value's owner is gone.
    async fn next(&mut self) -> Option<T> {
        if let Some((sent, at)) = &self.sent {
            if let Ok(changed) =
                tokio::time::timeout_at(*at + self.heartbeat, self.value.changed()).await
            {
                changed.ok()?;
            }
            if sent.is_progress() {
                let pause_ends = *at + PROGRESS_PAUSE;
                let settled = self.value.wait_for(|value| !value.is_progress());
                // Either way, whatever is newest now is the line.
                let _ = tokio::time::timeout_at(pause_ends, settled).await;
            }
        }
        Some(self.value.borrow_and_update().clone())
    }
}

#[cfg(test)]
mod tests;
