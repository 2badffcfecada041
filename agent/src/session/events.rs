//! The live picture: a snapshot, then what changes, with heartbeats in between.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::response::Response;
use futures_util::stream;
use tokio::sync::{broadcast, watch};
use tokio::time::{Interval, MissedTickBehavior};
use wire::event::{Event, Snapshot, Warning};
use wire::{ndjson, routes};

use super::exchange;
use super::workers::{Look, look};
use super::{Hive, Shared};
use crate::executor::Published;

/// What a reader asks for who wants telemetry.
const WATCH: &str = "watch=1";

/// One reader.
struct Reader {
    hive: Arc<Hive>,
    news: broadcast::Receiver<Published>,
    closing: watch::Receiver<bool>,
    heartbeat: Interval,
    telemetry: Option<Interval>,
    warnings: watch::Receiver<Vec<Warning>>,
    /// The revision up to which this reader knows everything; nothing before the first snapshot.
    known: Option<u64>,
}

pub(super) async fn events(State(hive): Shared, RawQuery(query): RawQuery) -> Response {
    let watches = query.is_some_and(|query| query.split('&').any(|part| part == WATCH));
    let reader = Reader {
        news: hive.handle.events(),
        closing: hive.handle.closing(),
        heartbeat: every(hive.settings.timings.heartbeat),
        telemetry: watches.then(|| every(hive.settings.timings.telemetry)),
        warnings: hive.inventory.shortages.subscribe(),
        known: None,
        hive,
    };
    let lines = stream::unfold(reader, |mut reader| async move {
        let line = reader.next().await?;
        Some((Ok::<Bytes, Infallible>(line), reader))
    });
    exchange::stream(Body::from_stream(lines), routes::NDJSON)
}

fn every(period: std::time::Duration) -> Interval {
    let mut interval = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

impl Reader {
    /// The next line; nothing when the agent ends.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let Some(known) = self.known else { return self.snapshot().await };
            tokio::select! {
                biased;
                news = self.news.recv() => match news {
                    // What the snapshot already held.
                    Ok(news) if news.revision <= known => continue,
                    Ok(news) => {
                        self.known = Some(news.revision);
                        return Some(news.line);
                    }
                    // Too slow: what was lost is replaced by everything.
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        self.known = None;
                        continue;
                    }
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                Ok(()) = self.warnings.changed() => {
                    let warnings = self.warnings.borrow_and_update().clone();
                    return line(&Event::Warnings { warnings });
                }
                _closing = self.closing.wait_for(|closing| *closing) => return None,
                _ = self.heartbeat.tick() => {
                    return line(&Event::Heartbeat { revision: known });
                }
                () = tick(&mut self.telemetry) => {}
            }
            return self.telemetry().await;
        }
    }

    async fn telemetry(&self) -> Option<Bytes> {
        let Look { workers, promised, .. } = look(&self.hive).await.ok()?;
        let devices = self.hive.inventory.devices(&workers, &promised).await;
        line(&Event::Telemetry { devices, workers })
    }

    async fn snapshot(&mut self) -> Option<Bytes> {
        let Look { revision, workers, promised, .. } = look(&self.hive).await.ok()?;
        self.known = Some(revision);
        let devices = self.hive.inventory.devices(&workers, &promised).await;
        line(&Event::Snapshot(Snapshot {
            revision,
            hello: self.hive.hello.clone(),
            devices,
            workers,
            warnings: self.warnings.borrow_and_update().clone(),
        }))
    }
}

async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

fn line(event: &Event) -> Option<Bytes> {
    match ndjson::encode(event) {
        Ok(line) => Some(line.into()),
        Err(error) => {
            tracing::error!(%error, "an event could not be encoded");
            None
        }
    }
}
