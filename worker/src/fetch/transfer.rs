//! One file from the hub into the directory: whole, checked, and gone on with where it was.

use std::io::Write;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, timeout};
use wire::pull::{Sha256, StoredFile};
use wire::{Code, Fault, limits};

use super::hub::{Content, Hub, Offered, Trouble};
use super::store::{Partial, Store};
use super::teller::Teller;

/// From where to where, and how long a silence may be.
pub struct Way<'a> {
    /// Who is asked.
    pub hub: &'a Hub,
    /// The commit that is asked for.
    pub revision: &'a str,
    /// Where files are kept.
    pub store: &'a Store,
    /// A silence after which an attempt failed.
    pub stall: Duration,
}

impl Way<'_> {
    /// One attempt to bring a file, the `number`th of those that `teller` knows.
    pub async fn bring<W: Write>(
        &self,
        file: &Offered,
        number: usize,
        teller: &mut Teller<W>,
    ) -> Result<StoredFile, Trouble> {
        match (&file.sha256, file.bytes) {
            (Some(sha256), Some(bytes)) => {
                self.bring_known(file, sha256, bytes, number, teller).await?;
                Ok(StoredFile { name: file.name.clone(), sha256: sha256.clone(), bytes })
            }
            _ => self.bring_small(file, number, teller).await,
        }
    }

    /// Content whose digest and length are known before.
    async fn bring_known<W: Write>(
        &self,
        file: &Offered,
        sha256: &Sha256,
        bytes: u64,
        number: usize,
        teller: &mut Teller<W>,
    ) -> Result<(), Trouble> {
        let is_here = self.store.has(sha256, bytes);
        let partial = if is_here { None } else { self.store.resume(sha256, bytes).await? };
        let Some(mut partial) = partial else {
            return teller.note(number, bytes, 0, Instant::now()).map_err(Trouble::Lasting);
        };
        let have = partial.bytes();
        teller.note(number, have, 0, Instant::now()).map_err(Trouble::Lasting)?;
        if have < bytes {
            let opening = self.hub.open(self.revision, &file.name, have, bytes);
            let (from, content) =
                timeout(self.stall, opening).await.map_err(|_| self.silent())??;
            if from != have {
                partial.clear().map_err(|error| self.store.trouble(&error))?;
            }
            self.pour(content, &mut partial, bytes, number, teller).await?;
        }
        if partial.bytes() < bytes {
            return Err(self.ended_early(bytes - partial.bytes()));
        }
        let actual = partial.digest();
        if actual != *sha256 {
            partial.discard();
            teller.note(number, 0, 0, Instant::now()).map_err(Trouble::Lasting)?;
            let message = format!("what came of {} is not what the hub says it is", file.name);
            let fault = Fault::new(Code::ChecksumMismatch, message)
                .detail("expected", sha256.as_str())
                .detail("actual", actual.as_str());
            return Err(Trouble::passing(fault));
        }
        self.store.keep(&partial, sha256)
    }

    /// Content of which only the hub's list is known: small, and whole or not at all.
    async fn bring_small<W: Write>(
        &self,
        file: &Offered,
        number: usize,
        teller: &mut Teller<W>,
    ) -> Result<StoredFile, Trouble> {
        let mut partial = self.store.fresh()?;
        match self.pour_small(file, &mut partial, number, teller).await {
            Ok(()) => {
                let (sha256, bytes) = (partial.digest(), partial.bytes());
                self.store.keep(&partial, &sha256)?;
                Ok(StoredFile { name: file.name.clone(), sha256, bytes })
            }
            Err(trouble) => {
                partial.discard();
                Err(trouble)
            }
        }
    }

    async fn pour_small<W: Write>(
        &self,
        file: &Offered,
        partial: &mut Partial,
        number: usize,
        teller: &mut Teller<W>,
    ) -> Result<(), Trouble> {
        if file.bytes == Some(0) {
            return Ok(());
        }
        let most = file.bytes.unwrap_or(limits::MAX_SMALL_FILE_BYTES);
        let opening = self.hub.open(self.revision, &file.name, 0, most);
        let (_, content) = timeout(self.stall, opening).await.map_err(|_| self.silent())??;
        self.pour(content, partial, most, number, teller).await?;
        match file.bytes {
            Some(bytes) if partial.bytes() < bytes => {
                Err(self.ended_early(bytes - partial.bytes()))
            }
            _ => Ok(()),
        }
    }

    /// Adds what comes to what is there, up to `most` bytes in all.
    async fn pour<W: Write>(
        &self,
        mut content: Content,
        partial: &mut Partial,
        most: u64,
        number: usize,
        teller: &mut Teller<W>,
    ) -> Result<(), Trouble> {
        loop {
            let next = timeout(self.stall, content.next()).await.map_err(|_| self.silent())?;
            let Some(bytes) = next else { return Ok(()) };
            let bytes = bytes.map_err(|error| self.hub.trouble(error))?;
            let came = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            if came > most.saturating_sub(partial.bytes()) {
                partial.clear().map_err(|error| self.store.trouble(&error))?;
                let message = format!("{} sends more than it said", self.hub.place());
                return Err(Trouble::passing(Fault::new(Code::DownloadFailed, message)));
            }
            partial.add(&bytes).map_err(|error| self.store.trouble(&error))?;
            let noted = teller.note(number, partial.bytes(), came, Instant::now());
            noted.map_err(Trouble::Lasting)?;
        }
    }

    /// The trouble of a hub that says nothing.
    pub fn silent(&self) -> Trouble {
        silent(self.hub, self.stall)
    }

    fn ended_early(&self, missing: u64) -> Trouble {
        let message = format!("{} ended {missing} bytes early", self.hub.place());
        Trouble::passing(Fault::new(Code::DownloadFailed, message).hint(self.hub.look()))
    }
}

/// The trouble of a hub that said nothing for so long.
pub fn silent(hub: &Hub, stall: Duration) -> Trouble {
    let message = format!("{} sent nothing for {} ms", hub.place(), stall.as_millis());
    Trouble::passing(Fault::new(Code::DownloadTimeout, message).hint(hub.look()))
}
