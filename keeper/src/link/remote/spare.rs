//! A second connection for servers that allow one session on each (`MaxSessions 1`).

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use wire::Fault;

use super::Connector;
use crate::ssh::{Peer, Session, Shell, Stream};

/// A connection, and a second one as soon as the first one opens no more shells.
pub struct Spare {
    first: Arc<dyn Session>,
    second: Mutex<Option<Arc<dyn Session>>>,
    connector: Connector,
}

impl Spare {
    /// `first`, and what `connector` makes when that is not enough.
    pub fn new(first: Arc<dyn Session>, connector: Connector) -> Self {
        Self { first, second: Mutex::new(None), connector }
    }

    async fn second(&self) -> Result<Arc<dyn Session>, Fault> {
        let mut open = self.second.lock().await;
        match &*open {
            Some(session) if !session.is_closed() => Ok(session.clone()),
            _ => {
                let session = (self.connector)().await?;
                *open = Some(session.clone());
                Ok(session)
            }
        }
    }
}

impl Session for Spare {
    fn shell(&self) -> BoxFuture<'_, Result<Shell, Fault>> {
        Box::pin(async {
            match self.first.shell().await {
                Err(_) if !self.first.is_closed() => self.second().await?.shell().await,
                other => other,
            }
        })
    }

    fn socket<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Stream, Fault>> {
        self.first.socket(path)
    }

    fn peer(&self) -> &Peer {
        self.first.peer()
    }

    fn is_closed(&self) -> bool {
        self.first.is_closed()
    }
}
