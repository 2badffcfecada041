//! What tests of the pure parts need: a machine that is never asked, a bundle on disk.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use wire::{Code, Fault, HiveName};

use super::bundle::Bundle;
use super::elf::Needs;
use super::script::Waiting;
use super::{Host, SHARED, Step, Witness};
use crate::install;
use crate::ssh::{Peer, Session, Shell, Stream};

struct Silent(Peer);

impl Session for Silent {
    fn shell(&self) -> BoxFuture<'_, Result<Shell, Fault>> {
        Box::pin(async { Err(Fault::new(Code::HiveUnreachable, "nobody is there")) })
    }

    fn socket<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Stream, Fault>> {
        Box::pin(async { Err(Fault::new(Code::HiveUnreachable, "nobody is there")) })
    }

    fn peer(&self) -> &Peer {
        &self.0
    }

    fn is_closed(&self) -> bool {
        true
    }
}

struct Nobody;

impl Witness for Nobody {
    fn sees(&self, _: &HiveName, _: &Step) {}
}

/// A machine called `pc` that says nothing.
pub fn host() -> Host {
    Host {
        hive: "pc".parse().unwrap(),
        session: Arc::new(Silent(Peer::default())),
        waiting: Waiting::default(),
        witness: Arc::new(Nobody),
        silence: Duration::from_secs(1),
        shared: SHARED.to_owned(),
    }
}

/// A directory for a bundle.
pub struct Home(tempfile::TempDir);

impl Home {
    /// An empty one.
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A bundle with this program.
    pub fn bundle(&self, program: &[u8]) -> Bundle {
        let path = self.0.path().join("rbee");
        fs::write(&path, program).unwrap();
        let digest = install::copy_and_hash(program, std::io::sink()).unwrap();
        fs::write(path.with_extension("sha256"), format!("{digest}\n")).unwrap();
        Bundle {
            target: install::TARGET.to_owned(),
            program: path,
            needs: Needs::default(),
            digest: None,
        }
    }
}
