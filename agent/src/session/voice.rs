//! Whether a client still says anything, and says what it wants in time. The SSH server of a hive
//! keeps its side of a connection open for long after the line was cut; a keeper gives signs of
//! life.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::io::InspectReader;
use wire::silence::Silence;

use super::socket::Socket;

/// What every connection of HTTP/2 begins with (RFC 9113, section 3.4). Whoever speaks HTTP/1
/// cannot be asked for a sign of life, and may listen for as long as it likes.
const PREFACE: &[u8] = b"PRI ";
/// Bytes by which it is known which protocol is spoken: those of HTTP/2's whole preface. Whatever
/// comes after them has bounds of its own.
const GREETING_BYTES: u64 = 24;

#[derive(Debug, Default)]
struct Signs {
    bytes: AtomicU64,
    gives_signs: AtomicBool,
}

/// The ear of one connection.
#[derive(Debug)]
pub struct Ear(Arc<Signs>);

/// `stream` as before, and its ear.
pub fn listen(stream: Socket) -> (impl AsyncRead + AsyncWrite + Send + Unpin, Ear) {
    let signs = Arc::new(Signs::default());
    let ear = Ear(Arc::clone(&signs));
    let count = move |new: &[u8]| {
        let bytes = u64::try_from(new.len()).unwrap_or(u64::MAX);
        if bytes > 0 && signs.bytes.fetch_add(bytes, Ordering::Relaxed) == 0 {
            signs.gives_signs.store(new.starts_with(PREFACE), Ordering::Relaxed);
        }
    };
    (InspectReader::new(stream, count), ear)
}

impl Ear {
    /// Listens until a client that could say something has said nothing for `patience`, or half a
    /// greeting within `greeting`: it keeps no place.
    pub async fn until_gone(self, greeting: Duration, patience: Duration) {
        let (mut silence, began) = (Silence::of(patience), Instant::now());
        let mut look = tokio::time::interval(silence.pause());
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let bytes = self.0.bytes.load(Ordering::Relaxed);
            silence.look(bytes, began.elapsed());
            let is_silent = silence.lasts(patience) && self.0.gives_signs.load(Ordering::Relaxed);
            if is_silent || (bytes < GREETING_BYTES && began.elapsed() >= greeting) {
                return;
            }
        }
    }
}
