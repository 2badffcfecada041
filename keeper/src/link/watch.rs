//! One hive as it lives: connected, followed, and connected again when it was lost.

use std::time::Duration;

use rand::RngExt;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use wire::event::Event;
use wire::{Code, Fault, HiveName, Timings};

use super::client::Client;
use super::streams::Events;
use super::voice::{self, Hearing};
use super::{Transport, reach_running};
use crate::fleet::{Fleet, Moment, Picture};

/// How far a pause may differ from its length, so that hives that were lost together do not come
/// back together.
const JITTER: f64 = 0.2;

/// How the keeper stands with a hive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is being connected for the first time.
    Connecting,
    /// Its agent answers and its events come.
    Online,
    /// The machine answers, and no agent runs there.
    Stopped,
    /// It does not answer; it is tried again after `pause`.
    Unreachable {
        /// What happened.
        why: Fault,
        /// Until the next attempt.
        pause: Duration,
    },
    /// It does not accept this keeper, or is not the machine it was. It is not tried again.
    Refused {
        /// Why.
        why: Fault,
    },
}

/// What is new of a hive.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// The keeper stands otherwise with it.
    Standing(Standing),
    /// It said something. After a snapshot no event is missing until the standing changes.
    Event(Box<Event>),
}

/// Follows one hive until nobody listens or it refuses. Starts no agent.
pub async fn watch<T: Transport>(
    way: &T,
    timings: &Timings,
    listener: mpsc::Sender<(HiveName, News)>,
) {
    let mut backoff = Backoff::new(timings);
    let tell = async |news| listener.send((way.hive().clone(), news)).await.is_ok();
    if !tell(News::Standing(Standing::Connecting)).await {
        return;
    }
    // While it is tried again it stands as it stood: why it was lost is worth more than that.
    loop {
        let standing = match reach_running(way, timings).await {
            Ok(Some((client, events))) => {
                backoff.reset();
                if !tell(News::Standing(Standing::Online)).await {
                    return;
                }
                let lost = tokio::select! {
                    fault = follow(timings, &client, events, &listener) => fault,
                    () = listener.closed() => return client.leave().await,
                };
                if *client.hearing().borrow() == Hearing::Dead {
                    // What carries it may be dead as well, and not know it yet.
                    way.renew().await;
                }
                Standing::Unreachable { why: lost, pause: backoff.next() }
            }
            Ok(None) => Standing::Stopped,
            Err(why) if is_final(&why) => Standing::Refused { why },
            Err(why) => Standing::Unreachable { why, pause: backoff.next() },
        };
        let pause = match &standing {
            Standing::Refused { .. } => None,
            Standing::Unreachable { pause, .. } => Some(*pause),
            _ => Some(backoff.next()),
        };
        if !tell(News::Standing(standing)).await {
            return;
        }
        let Some(pause) = pause else { return };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = listener.closed() => return,
        }
    }
}

/// Whether a person must do something first.
fn is_final(fault: &Fault) -> bool {
    matches!(
        fault.code,
        Code::AuthFailed
            | Code::HostKeyChanged
            | Code::HostKeyUnknown
            | Code::VersionMismatch
            | Code::InvalidConfig
    )
}

/// Passes the events on until the hive is lost; what was missed is asked for again. While it is
/// silent it counts as unreachable, although its connection is kept: it may only be slow.
async fn follow(
    timings: &Timings,
    client: &Client,
    mut events: Events,
    listener: &mpsc::Sender<(HiveName, News)>,
) -> Fault {
    let hive = client.hive();
    let mut mirror = Fleet::default();
    let mut hearing = client.hearing();
    loop {
        let event = tokio::select! {
            event = events.next() => match event {
                Ok(Some(event)) => event,
                Ok(None) => return events.ended(),
                Err(fault) => return fault,
            },
            now = voice::turn(&mut hearing) => {
                let standing = match now {
                    Hearing::Heard => Standing::Online,
                    Hearing::Silent => Standing::Unreachable {
                        why: client.silent(timings.stale),
                        pause: timings.dead.saturating_sub(timings.stale),
                    },
                    // The stream fails as well, and says why.
                    Hearing::Dead => continue,
                };
                if now == Hearing::Heard {
                    // Whoever hears of a standing expects a snapshot behind it.
                    match client.events().await {
                        Ok(fresh) => events = fresh,
                        Err(fault) => return fault,
                    }
                }
                if listener.send((hive.clone(), News::Standing(standing))).await.is_err() {
                    return events.ended();
                }
                continue;
            }
        };
        if mirror.update(hive, event.clone(), Moment::ZERO) == Picture::Torn {
            match client.events().await {
                Ok(fresh) => events = fresh,
                Err(fault) => return fault,
            }
            continue;
        }
        if listener.send((hive.clone(), News::Event(Box::new(event)))).await.is_err() {
            // Nobody listens any more; whoever calls sees that, too.
            return events.ended();
        }
    }
}

/// Pauses between attempts: each twice the last, within bounds.
#[derive(Debug)]
struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    fn new(timings: &Timings) -> Self {
        let (first, most) = (timings.reconnect_first, timings.reconnect_most);
        Self { first, most, next: first }
    }

    fn reset(&mut self) {
        self.next = self.first;
    }

    fn next(&mut self) -> Duration {
        let pause = self.next.min(self.most);
        self.next = pause.saturating_mul(2);
        pause.mul_f64(rand::rng().random_range(1.0 - JITTER..1.0 + JITTER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_differ_a_little_and_begin_again_after_a_success() {
        let mut backoff = Backoff::new(&Timings::default());
        let pauses: Vec<f64> = (0..8).map(|_| backoff.next().as_secs_f64()).collect();
        for (pause, planned) in pauses.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]) {
            assert!((pause / planned - 1.0).abs() <= JITTER, "{pauses:?}");
        }
        backoff.reset();
        assert!(backoff.next().as_secs_f64() <= 1.0 + JITTER);
    }

    #[test]
    fn a_changed_host_key_is_never_tried_again() {
        assert!(is_final(&Fault::new(Code::HostKeyChanged, "x")));
        assert!(is_final(&Fault::new(Code::AuthFailed, "x")));
        assert!(!is_final(&Fault::new(Code::HiveUnreachable, "x")));
    }
}
