//! Whether the agent at the other end of a connection still says anything. Every byte counts, of
//! whatever stream: on a slow line heartbeats wait behind tokens, and tokens are signs of life too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::io::InspectReader;
use wire::Timings;
use wire::silence::Silence;

use crate::ssh::Stream;

/// How a connection was heard last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    /// It says something.
    Heard,
    /// Nothing for [`Timings::stale`]: nothing new is sent there.
    Silent,
    /// Nothing for [`Timings::dead`]: it was given up.
    Dead,
}

/// The ear of one connection.
pub struct Ear {
    heard: Arc<AtomicU64>,
    hearing: watch::Sender<Hearing>,
}

/// `stream` as before, and its ear.
pub fn listen(stream: Stream) -> (impl AsyncRead + AsyncWrite + Send + Unpin, Ear) {
    let heard = Arc::new(AtomicU64::new(0));
    let ear = Ear { heard: Arc::clone(&heard), hearing: watch::Sender::new(Hearing::Heard) };
    let count = move |new: &[u8]| {
        if !new.is_empty() {
            heard.fetch_add(1, Ordering::Relaxed);
        }
    };
    (InspectReader::new(stream, count), ear)
}

impl Ear {
    /// How the connection is heard, from now on.
    pub fn hearing(&self) -> watch::Receiver<Hearing> {
        self.hearing.subscribe()
    }

    /// Waits until nobody needs the connection any more.
    pub fn until_unneeded(&self) -> impl Future<Output = ()> + Send + use<> {
        let hearing = self.hearing.clone();
        async move { hearing.closed().await }
    }

    /// Listens until the connection is dead.
    pub async fn until_dead(self, timings: &Timings) {
        let (mut silence, began) = (Silence::of(timings.stale), Instant::now());
        let mut look = tokio::time::interval(silence.pause());
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            silence.look(self.heard.load(Ordering::Relaxed), began.elapsed());
            let now = if silence.lasts(timings.dead.max(timings.stale)) {
                Hearing::Dead
            } else if silence.lasts(timings.stale) {
                Hearing::Silent
            } else {
                Hearing::Heard
            };
            self.hearing.send_if_modified(|before| std::mem::replace(before, now) != now);
            if now == Hearing::Dead {
                return;
            }
        }
    }
}

/// Waits until the connection is heard otherwise than before; for ever once it has ended, for
/// whoever waits on it hears of that another way.
pub async fn turn(hearing: &mut watch::Receiver<Hearing>) -> Hearing {
    match hearing.changed().await {
        Ok(()) => *hearing.borrow_and_update(),
        Err(_ended) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const STALE: Duration = Duration::from_millis(100);

    fn timings(dead: Duration) -> Timings {
        Timings { stale: STALE, dead, ..Timings::default() }
    }

    #[tokio::test]
    async fn a_connection_is_silent_until_a_byte_comes_and_then_again() {
        let (mut far, near) = tokio::io::duplex(64);
        let (mut near, ear) = listen(Box::new(near));
        let mut hearing = ear.hearing();
        let began = Instant::now();
        tokio::spawn(async move { ear.until_dead(&timings(Duration::from_secs(3600))).await });
        assert_eq!(turn(&mut hearing).await, Hearing::Silent);
        assert!(began.elapsed() >= STALE / 2, "{:?}", began.elapsed());
        far.write_all(b"x").await.unwrap();
        near.read_u8().await.unwrap();
        assert_eq!(turn(&mut hearing).await, Hearing::Heard);
        assert_eq!(turn(&mut hearing).await, Hearing::Silent);
    }

    #[tokio::test]
    async fn a_connection_that_stays_silent_is_dead_and_one_that_speaks_never() {
        let (mut far, near) = tokio::io::duplex(64);
        let (mut near, ear) = listen(Box::new(near));
        let hearing = ear.hearing();
        let speaks = async {
            let mut pause = tokio::time::interval(STALE / 10);
            for _ in 0..40 {
                pause.tick().await;
                far.write_all(b"x").await.unwrap();
                near.read_u8().await.unwrap();
            }
        };
        let waits = timings(STALE * 2);
        let listening = ear.until_dead(&waits);
        tokio::pin!(listening);
        tokio::select! {
            () = &mut listening => panic!("it spoke all the time"),
            () = speaks => {}
        }
        listening.await;
        assert_eq!(*hearing.borrow(), Hearing::Dead);
    }
}
