//! Puts this build on a hive, and hands over to it without losing a model.

use serde::Serialize;
use tokio::time::timeout;
use wire::hello::{Hello, agent_protocol};
use wire::worker::StopRequest;
use wire::{BuildId, Code, Fault, HiveName, WorkerId};

use super::Account;
use crate::context::Context;
use crate::hives::seen;
use crate::link::client::end_bound;
use crate::link::way::Way;
use crate::link::{self, Client, Transport};

/// What a hive has now.
#[derive(Debug, Serialize)]
pub struct Installed {
    /// Which hive.
    pub hive: HiveName,
    /// The build that is installed: this program's.
    pub build: BuildId,
    /// The build whose agent handed over; none when no agent ran or it was of this build.
    pub replaced: Option<BuildId>,
    /// The agent that runs now; none when none ran.
    pub pid: Option<u32>,
}

/// Puts this build on a hive. An agent of another one hands over: its requests end first, loaded
/// models stay. With `force` a newer version is replaced, too.
///
/// # Errors
/// Those of the way there and of the upload; `VERSION_MISMATCH` where a newer version runs.
pub async fn install(
    way: &Way,
    force: bool,
    context: &Context,
    account: &dyn Account,
) -> Result<Installed, Fault> {
    let running = running(way, force, context).await?;
    match way.remote() {
        None => {
            crate::install::ensure(&context.environment.dirs.data, &context.build)?;
        }
        Some(remote) => {
            // What is not what was installed is replaced in any case; a sound program may be in
            // use.
            remote.install(false).await?;
            seen::note(&context.environment.dirs.state, way.hive());
        }
    }
    replace(way, running, context, account).await
}

/// The agent that runs, when it may be replaced. Its connection ends with the answer: beside the
/// bytes of an upload on a slow line it would fall silent.
async fn running(way: &Way, force: bool, context: &Context) -> Result<Option<Hello>, Fault> {
    let Some(client) = link::connect(way, &context.config.timings).await? else { return Ok(None) };
    let hello = client.greeting().await?;
    if !force {
        refuse_downgrade(way.hive(), &hello)?;
    }
    Ok(Some(hello))
}

/// Puts an agent of this build in the place of the one that runs.
async fn replace(
    way: &Way,
    running: Option<Hello>,
    context: &Context,
    account: &dyn Account,
) -> Result<Installed, Fault> {
    let hive = way.hive();
    let installed = |replaced, pid| Installed {
        hive: hive.clone(),
        build: context.build.clone(),
        replaced,
        pid,
    };
    match running {
        None => {
            account.tells(hive, &format!("this build is on {}, no agent runs", link::named(hive)));
            Ok(installed(None, None))
        }
        Some(hello) if hello.build == context.build => {
            account.tells(hive, &format!("the agent of {} is of this build", link::named(hive)));
            Ok(installed(None, Some(hello.pid)))
        }
        Some(old) => {
            let client = link::connect(way, &context.config.timings).await?;
            let client = client.ok_or_else(|| link::no_agent(hive))?;
            let kept = hand_over(way, &client, &old, context).await?;
            let (_client, mut events) = link::reach(way, &context.config.timings).await?;
            let snapshot = events.snapshot().await?;
            let lives = |id: &&WorkerId| {
                snapshot.workers.iter().any(|w| w.id == **id && !w.state.is_finished())
            };
            let (kept, lost): (Vec<_>, Vec<_>) = kept.iter().partition(lives);
            for id in lost {
                account.warns(&format!("{hive}: the worker {id} was lost in the handover"));
            }
            let count = kept.len();
            account.tells(hive, &format!("build {} handed over, workers kept: {count}", old.build));
            Ok(installed(Some(old.build), Some(snapshot.hello.pid)))
        }
    }
}

/// Lets the agent end, and its guards live: gives the workers that stay.
async fn hand_over(
    way: &Way,
    client: &Client,
    old: &Hello,
    context: &Context,
) -> Result<Vec<WorkerId>, Fault> {
    let hive = way.hive();
    let reply =
        client.hand_over(StopRequest::default()).await.map_err(|fault| match fault.code {
            // It is from before there was such a thing.
            Code::NotFound => Fault::new(
                Code::VersionMismatch,
                format!(
                    "the agent of {} cannot hand over, its build is {}",
                    link::named(hive),
                    old.build
                ),
            )
            .cause("its models are lost when it is stopped")
            .hint(format!("rbee hive stop {hive} && rbee hive start {hive}")),
            _ => fault,
        })?;
    let bound = end_bound(&context.config.timings);
    timeout(bound, way.ended(old.pid)).await.unwrap_or_else(|_late| {
        let message = format!("the agent of {} has not ended", link::named(hive));
        let fault = Fault::new(Code::Io, message).cause(format!("its process is {}", old.pid));
        Err(fault.hint(format!("rbee hive stop {hive}")))
    })?;
    Ok(reply.kept)
}

/// An older program never replaces a newer one by itself. Builds of one version have no order.
fn refuse_downgrade(hive: &HiveName, theirs: &Hello) -> Result<(), Fault> {
    let ours = env!("CARGO_PKG_VERSION");
    let is_newer = match (numbers(&theirs.version), numbers(ours)) {
        (Some(theirs), Some(ours)) => theirs > ours,
        _ => false,
    };
    if !is_newer && theirs.protocol.max <= agent_protocol::SPOKEN.max {
        return Ok(());
    }
    let whose = link::named(hive);
    let message =
        format!("the agent of {whose} is of version {}, newer than {ours}", theirs.version);
    Err(Fault::new(Code::VersionMismatch, message)
        .cause("an older version is installed only by force")
        .hint(format!("rbee hive install {hive} --force")))
}

/// A version as numbers that can be compared.
fn numbers(version: &str) -> Option<[u64; 3]> {
    let release = version.split(['-', '+']).next()?;
    let mut parts = release.split('.').map(|part| part.parse().ok());
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::hello::{ProtocolRange, Role};

    fn agent(version: &str, max: u32) -> Hello {
        Hello {
            role: Role::Agent,
            protocol: ProtocolRange { min: 1, max },
            build: "0123456789abcdef".parse().unwrap(),
            version: version.to_owned(),
            pid: 7,
            features: Vec::new(),
        }
    }

    #[test]
    fn a_newer_agent_is_replaced_only_by_force() {
        let hive = "pc".parse().unwrap();
        let spoken = agent_protocol::SPOKEN.max;
        assert!(refuse_downgrade(&hive, &agent(env!("CARGO_PKG_VERSION"), spoken)).is_ok());
        assert!(refuse_downgrade(&hive, &agent("0.0.1", spoken)).is_ok());
        assert!(refuse_downgrade(&hive, &agent("nightly", spoken)).is_ok());
        for newer in [agent("9.0.0", spoken), agent("0.0.1", spoken + 1)] {
            let fault = refuse_downgrade(&hive, &newer).unwrap_err();
            assert_eq!(fault.code, Code::VersionMismatch);
            assert_eq!(fault.hints, ["rbee hive install pc --force"]);
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(numbers("0.10.0") > numbers("0.9.9"));
        assert_eq!(numbers("1.2.3-rc1"), Some([1, 2, 3]));
        assert_eq!((numbers("1.2"), numbers("1.2.3.4"), numbers("")), (None, None, None));
    }
}
