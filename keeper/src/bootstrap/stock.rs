//! The programs that this machine can send: read, verified and compressed once, for all hives.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Mutex, OnceCell};
use wire::{BuildId, Code, Fault};

use super::Host;
use super::bundle::{self, Bundle};
use super::payload::{self, Payload};

/// What is known of the programs; shared by the ways to all hives.
pub struct Stock {
    data: PathBuf,
    build: BuildId,
    candidates: OnceCell<Vec<Bundle>>,
    digests: Cells<String, String>,
    payloads: Cells<(String, bool), Payload>,
}

/// Values that are made once for each key; who wants one while it is made waits for it.
type Cells<K, V> = Mutex<BTreeMap<K, Arc<OnceCell<V>>>>;

async fn cell<K: Ord, V>(cells: &Cells<K, V>, key: K) -> Arc<OnceCell<V>> {
    cells.lock().await.entry(key).or_default().clone()
}

impl Stock {
    /// The programs of `build` in `data`, the keeper's data directory. Nothing is read yet.
    pub fn new(data: PathBuf, build: BuildId) -> Self {
        let (digests, payloads) = (Mutex::default(), Mutex::default());
        Self { data, build, candidates: OnceCell::new(), digests, payloads }
    }

    /// What the programs were built from.
    pub fn build(&self) -> &BuildId {
        &self.build
    }

    /// The programs, as [`bundle::candidates`] finds them.
    ///
    /// # Errors
    /// Those of [`bundle::candidates`]; the next call tries again.
    pub async fn candidates(&self) -> Result<&[Bundle], Fault> {
        let found = self.candidates.get_or_try_init(async || {
            let (data, build) = (self.data.clone(), self.build.clone());
            let found = tokio::task::spawn_blocking(move || bundle::candidates(&data, &build));
            found.await.map_err(|error| {
                Fault::new(Code::Internal, "the programs of this machine were not read")
                    .cause(error)
            })?
        });
        found.await.map(Vec::as_slice)
    }

    /// Begins to read the programs while something else is waited for.
    pub fn begin(self: &Arc<Self>) {
        let stock = self.clone();
        // Who needs them meets the same fault.
        drop(tokio::spawn(async move { stock.candidates().await.map(|_| ()) }));
    }

    /// The digest of a bundle's program, as [`payload::digest`] finds it.
    ///
    /// # Errors
    /// Those of [`payload::digest`].
    pub async fn digest(&self, host: &Host, bundle: &Bundle) -> Result<String, Fault> {
        if let Some(digest) = &bundle.digest {
            return Ok(digest.clone());
        }
        let cell = cell(&self.digests, bundle.target.clone()).await;
        cell.get_or_try_init(|| payload::digest(host, bundle)).await.cloned()
    }

    /// What is sent of a bundle, as [`payload::prepare`] makes it.
    ///
    /// # Errors
    /// Those of [`payload::prepare`].
    pub async fn payload(
        &self,
        host: &Host,
        bundle: &Bundle,
        digest: &str,
        packed: bool,
    ) -> Result<Payload, Fault> {
        let cell = cell(&self.payloads, (bundle.target.clone(), packed)).await;
        let made = cell.get_or_try_init(|| payload::prepare(host, bundle, digest, packed));
        made.await.cloned()
    }
}
