//! How a worker's requests end with it: none is begun, some may finish, the rest are cut.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use wire::{Code, Fault};

/// How long a cut request may take to say so to its reader, who may not be reading.
const CUT_BOUND: Duration = Duration::from_secs(1);

/// The requests of a worker, from their beginning to the last byte of their answer.
#[derive(Debug)]
pub struct Drain {
    running: watch::Sender<usize>,
    phase: watch::Sender<Phase>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Requests may begin.
    Open,
    /// None may begin; those that run have until then.
    Draining { until: Instant },
    /// Those that run shall break off.
    Cut,
}

/// One request that runs.
#[derive(Debug)]
pub struct Ticket(Arc<Drain>);

impl Drain {
    /// Nothing runs and everything may begin.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { running: watch::Sender::new(0), phase: watch::Sender::new(Phase::Open) })
    }

    /// Begins a request.
    ///
    /// # Errors
    /// `SHUTTING_DOWN` once [`Drain::begin`] was called.
    pub fn enter(self: &Arc<Self>) -> Result<Ticket, Fault> {
        self.running.send_modify(|running| *running += 1);
        let ticket = Ticket(self.clone());
        match *self.phase.borrow() {
            Phase::Open => Ok(ticket),
            Phase::Draining { .. } | Phase::Cut => Err(shutting_down()),
        }
    }

    /// Lets nothing more begin, and what runs finish until then. The earliest of several calls
    /// holds.
    pub fn begin(&self, until: Instant) {
        self.phase.send_if_modified(|phase| {
            let sooner = match *phase {
                Phase::Open => true,
                Phase::Draining { until: current } => until < current,
                Phase::Cut => false,
            };
            if sooner {
                *phase = Phase::Draining { until };
            }
            sooner
        });
    }

    /// Waits until [`Drain::begin`] was called and nothing runs any more, or what still runs does
    /// not even hear that it was cut.
    pub async fn over(&self) {
        let mut phases = self.phase.subscribe();
        let mut running = self.running.subscribe();
        loop {
            let phase = *phases.borrow_and_update();
            let idle = running.wait_for(|running| *running == 0);
            match phase {
                Phase::Open => {
                    // An error is impossible: `self` holds the sender.
                    let _ = phases.changed().await;
                }
                Phase::Draining { until } => tokio::select! {
                    biased;
                    _ = idle => return,
                    _ = phases.changed() => {}
                    () = tokio::time::sleep_until(until) => {
                        self.phase.send_replace(Phase::Cut);
                    }
                },
                Phase::Cut => {
                    let _ = tokio::time::timeout(CUT_BOUND, idle).await;
                    return;
                }
            }
        }
    }
}

impl Ticket {
    /// Waits until this request shall break off.
    pub async fn cut(&self) -> Fault {
        let mut phases = self.0.phase.subscribe();
        // An error is impossible: the ticket holds the sender.
        let _ = phases.wait_for(|phase| *phase == Phase::Cut).await;
        shutting_down()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.running.send_modify(|running| *running = running.saturating_sub(1));
    }
}

fn shutting_down() -> Fault {
    Fault::new(Code::ShuttingDown, "the worker is shutting down")
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn it_is_over_as_soon_as_the_last_request_has_finished() {
        let drain = Drain::new();
        let ticket = drain.enter().unwrap();
        drain.begin(Instant::now() + LONG);
        assert_eq!(drain.enter().unwrap_err().code, Code::ShuttingDown);
        let mut over = std::pin::pin!(drain.over());
        assert!(over.as_mut().now_or_never().is_none(), "a request still runs");
        drop(ticket);
        assert!(over.now_or_never().is_some(), "nothing is left to wait for");
    }

    #[tokio::test]
    async fn a_request_that_outlasts_the_drain_is_cut() {
        let drain = Drain::new();
        let ticket = drain.enter().unwrap();
        let began = Instant::now();
        drain.begin(began + SHORT);
        let request = tokio::spawn(async move { ticket.cut().await });
        drain.over().await;
        assert_eq!(request.await.unwrap().code, Code::ShuttingDown);
        assert!(began.elapsed() >= SHORT);
    }

    #[tokio::test]
    async fn the_earliest_end_holds_and_a_deaf_request_is_not_waited_for() {
        let drain = Drain::new();
        let _deaf = drain.enter().unwrap();
        let began = Instant::now();
        drain.begin(began + LONG);
        drain.begin(began);
        drain.begin(began + LONG);
        drain.over().await;
        assert!((CUT_BOUND..LONG).contains(&began.elapsed()));
    }
}
