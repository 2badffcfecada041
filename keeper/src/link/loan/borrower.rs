//! The side of a loan that a short command has: it asks who lends, and goes by itself when nobody
//! does.

use std::path::PathBuf;

use tokio::io::BufReader;
use tokio::net::UnixStream;
use wire::{BuildId, Code, Fault, HiveName};

use super::{Call, PATIENCE, Reply, Request, VERSION};
use crate::link::remote::Remote;
use crate::link::{Opened, Transport, doctor, named};

/// A way to a hive over the connection of somebody who lends it, else over one of its own.
pub struct Borrowing {
    own: Remote,
    from: PathBuf,
    build: BuildId,
}

/// What came of asking for a loan.
enum Lent {
    Answer(Reply, BufReader<UnixStream>),
    Nobody,
}

impl Borrowing {
    /// From the lender whose socket is `from`, or by `own`.
    pub fn new(own: Remote, from: PathBuf, build: BuildId) -> Self {
        Self { own, from, build }
    }

    /// The way that is used when nobody lends.
    pub fn own(&self) -> &Remote {
        &self.own
    }

    /// Asks for a loan. Nobody lends what is there already.
    async fn ask(&self, call: Call) -> Lent {
        if self.own.is_connected() {
            return Lent::Nobody;
        }
        let answer = self.asked(call).await;
        match answer {
            Some((reply, stream)) => {
                tracing::info!(hive = %self.hive(), ?call, "another program's connection is used");
                Lent::Answer(reply, stream)
            }
            None => Lent::Nobody,
        }
    }

    async fn asked(&self, call: Call) -> Option<(Reply, BufReader<UnixStream>)> {
        let mut stream = BufReader::new(UnixStream::connect(&self.from).await.ok()?);
        if !super::is_own(stream.get_ref()) {
            return None;
        }
        let (hive, terms) = (self.own.hive().clone(), self.own.terms().clone());
        let request = Request { version: VERSION, hive, terms, build: self.build.clone(), call };
        super::say(&mut stream, &request).await?;
        loop {
            let heard = tokio::time::timeout(PATIENCE, super::hear(&mut stream)).await;
            match heard.ok()?? {
                Reply::Taken => {}
                Reply::Refused => return None,
                reply => return Some((reply, stream)),
            }
        }
    }

    fn odd(&self) -> Fault {
        let message = format!(
            "the program that lends its connection to {} answered something \
                               else",
            named(self.hive())
        );
        Fault::new(Code::ProtocolError, message).hint(doctor(self.hive()))
    }
}

impl Transport for Borrowing {
    fn hive(&self) -> &HiveName {
        self.own.hive()
    }

    async fn open(&self) -> Result<Option<Opened>, Fault> {
        match self.ask(Call::Open).await {
            Lent::Nobody => self.own.open().await,
            Lent::Answer(Reply::Opened { agent_pid }, stream) => {
                Ok(Some(Opened { stream: Box::new(stream), agent_pid }))
            }
            Lent::Answer(Reply::Absent, _) => Ok(None),
            Lent::Answer(reply, _) => Err(self.fault(reply)),
        }
    }

    async fn start(&self) -> Result<(), Fault> {
        match self.ask(Call::Start).await {
            Lent::Nobody => self.own.start().await,
            Lent::Answer(Reply::Done, _) => Ok(()),
            Lent::Answer(reply, _) => Err(self.fault(reply)),
        }
    }

    async fn has_orphans(&self) -> Result<bool, Fault> {
        match self.ask(Call::HasOrphans).await {
            Lent::Nobody => self.own.has_orphans().await,
            Lent::Answer(Reply::Has(has), _) => Ok(has),
            Lent::Answer(reply, _) => Err(self.fault(reply)),
        }
    }

    async fn holder(&self) -> Result<Option<i32>, Fault> {
        match self.ask(Call::Holder).await {
            Lent::Nobody => self.own.holder().await,
            Lent::Answer(Reply::Process(pid), _) => Ok(pid),
            Lent::Answer(reply, _) => Err(self.fault(reply)),
        }
    }

    async fn kill_agent(&self, pid: i32) -> Result<(), Fault> {
        match self.ask(Call::KillAgent(pid)).await {
            Lent::Nobody => self.own.kill_agent(pid).await,
            Lent::Answer(Reply::Done, _) => Ok(()),
            Lent::Answer(reply, _) => Err(self.fault(reply)),
        }
    }

    async fn ended(&self, pid: u32) -> Result<(), Fault> {
        match self.ask(Call::Ended(pid)).await {
            Lent::Nobody => self.own.ended(pid).await,
            Lent::Answer(Reply::Done, _) => Ok(()),
            Lent::Answer(reply, _) => Err(self.fault(reply)),
        }
    }

    /// Whose connection is lent, its owner renews it.
    async fn renew(&self) {
        self.own.renew().await;
    }
}

impl Borrowing {
    fn fault(&self, reply: Reply) -> Fault {
        match reply {
            Reply::Failed(fault) => *fault,
            _ => self.odd(),
        }
    }
}
