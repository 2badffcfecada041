//! The way to any hive: this machine's own socket, or a connection over SSH.

use std::sync::Arc;

use wire::{Fault, HiveName};

use super::loan::borrower::Borrowing;
use super::local::Local;
use super::remote::Remote;
use super::{Opened, Transport};

/// A way to one hive. A copy uses the same connection.
#[derive(Clone)]
pub enum Way {
    /// To this machine.
    Local(Local),
    /// To another one.
    Remote(Arc<Remote>),
    /// To another one, over the connection of a program that lends it, where there is one.
    Borrowing(Arc<Borrowing>),
}

impl Way {
    /// The way over SSH whose connection is this program's own; none to this machine.
    pub fn remote(&self) -> Option<&Remote> {
        match self {
            Self::Local(_) => None,
            Self::Remote(way) => Some(way),
            Self::Borrowing(way) => Some(way.own()),
        }
    }
}

impl Transport for Way {
    fn hive(&self) -> &HiveName {
        match self {
            Self::Local(way) => way.hive(),
            Self::Remote(way) => way.hive(),
            Self::Borrowing(way) => way.hive(),
        }
    }

    async fn open(&self) -> Result<Option<Opened>, Fault> {
        match self {
            Self::Local(way) => way.open().await,
            Self::Remote(way) => way.open().await,
            Self::Borrowing(way) => way.open().await,
        }
    }

    async fn start(&self) -> Result<(), Fault> {
        match self {
            Self::Local(way) => way.start().await,
            Self::Remote(way) => way.start().await,
            Self::Borrowing(way) => way.start().await,
        }
    }

    async fn has_orphans(&self) -> Result<bool, Fault> {
        match self {
            Self::Local(way) => way.has_orphans().await,
            Self::Remote(way) => way.has_orphans().await,
            Self::Borrowing(way) => way.has_orphans().await,
        }
    }

    async fn holder(&self) -> Result<Option<i32>, Fault> {
        match self {
            Self::Local(way) => way.holder().await,
            Self::Remote(way) => way.holder().await,
            Self::Borrowing(way) => way.holder().await,
        }
    }

    async fn kill_agent(&self, pid: i32) -> Result<(), Fault> {
        match self {
            Self::Local(way) => way.kill_agent(pid).await,
            Self::Remote(way) => way.kill_agent(pid).await,
            Self::Borrowing(way) => way.kill_agent(pid).await,
        }
    }

    async fn ended(&self, pid: u32) -> Result<(), Fault> {
        match self {
            Self::Local(way) => way.ended(pid).await,
            Self::Remote(way) => way.ended(pid).await,
            Self::Borrowing(way) => way.ended(pid).await,
        }
    }

    async fn renew(&self) {
        match self {
            Self::Local(way) => way.renew().await,
            Self::Remote(way) => way.renew().await,
            Self::Borrowing(way) => way.renew().await,
        }
    }
}
