//! The file of what an agent leaves to the next one.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use wire::limits;

use crate::kept::Kept;
use crate::platform;
use crate::supervisor::carryover::Carryover;
use crate::supervisor::input::BEGINNING;

/// Version of the file.
const VERSION: u32 = 1;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored {
    /// The run of the operating system that it was written in: another one may have other drivers,
    /// and what failed may work.
    boot: Option<String>,
    carryover: Carryover,
}

/// The file, and what an agent's moments are in Unix time.
#[derive(Debug, Clone, Default)]
pub struct Carried {
    file: Kept,
    /// The first moment, in milliseconds of Unix time.
    beginning_ms: u64,
}

impl Carried {
    /// Reads what the last agent left, for one that begins now. Nothing after a boot.
    pub fn open(path: PathBuf) -> (Self, Carryover) {
        let (file, stored) = Kept::open::<Stored>(path, VERSION, limits::MAX_CARRYOVER_BYTES);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let beginning_ms = millis(now.saturating_sub(BEGINNING));
        let stored = stored.filter(|stored| stored.boot == platform::boot_id());
        let carryover = stored.map(|stored| stored.carryover).unwrap_or_default();
        let moments = carryover.timed(|unix_ms| unix_ms.saturating_sub(beginning_ms));
        (Self { file, beginning_ms }, moments)
    }

    fn save(&self, carryover: Carryover) {
        let carryover = carryover.timed(|ms| ms.saturating_add(self.beginning_ms));
        if let Err(error) = self.file.save(&Stored { boot: platform::boot_id(), carryover }) {
            tracing::warn!(%error, "what the next agent should know could not be written down");
        }
    }

    /// Writes the latest of what it is given, until nothing more comes.
    pub async fn follow(self, mut latest: watch::Receiver<Carryover>) {
        while latest.changed().await.is_ok() {
            let carryover = latest.borrow_and_update().clone();
            let file = self.clone();
            let _panicked = tokio::task::spawn_blocking(move || file.save(carryover)).await;
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
