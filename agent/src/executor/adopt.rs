//! Finding the workers of an earlier agent: those that live are adopted, the rest is cleaned up.

use std::path::Path;
use std::time::Duration;

use wire::guard::{GuardSpec, RECORD_VERSION, files};

use super::Handle;
use super::guard;
use super::process::{self, Place};
use crate::supervisor::{End, Input};

/// How long a guard that is alive may take to say who it is.
const GREETING: Duration = Duration::from_secs(2);
/// How long a leftover engine may take to vanish once it is killed.
const KILL_TIME: Duration = Duration::from_secs(1);

/// Goes through every directory of workers. Returns when all are known to the supervisor.
///
/// # Errors
/// When the directory of workers cannot be read.
pub async fn adopt_all(workers_dir: &Path, handle: &Handle) -> std::io::Result<()> {
    let mut adoptions = Vec::new();
    for entry in std::fs::read_dir(workers_dir)? {
        let dir = entry?.path();
        adoptions.push(async move { adopt(&dir, handle).await });
    }
    futures_util::future::join_all(adoptions).await;
    Ok(())
}

async fn adopt(dir: &Path, handle: &Handle) {
    let spec = process::read::<GuardSpec>(dir, files::SPEC).filter(|spec| is_of(spec, dir));
    let Some(spec) = spec else {
        if tokio::net::UnixStream::connect(dir.join(files::GUARD_SOCKET)).await.is_ok() {
            // Another build's, and alive: that build's agent will know it.
            tracing::warn!(dir = %dir.display(), "leaving a worker whose spec cannot be read");
            return;
        }
        tracing::warn!(dir = %dir.display(), "removing a worker's directory without a spec");
        let _left = std::fs::remove_dir_all(dir);
        return;
    };
    let place = Place::of(&spec, dir.to_owned());
    let worker = place.id.clone();
    let greeted = tokio::time::timeout(GREETING, guard::greet(&place)).await;
    if matches!(greeted, Ok(Ok(true))) {
        tracing::info!(%worker, "adopting a worker of an earlier agent");
        handle.tell(Input::Adopted(Box::new(spec))).await;
        tokio::spawn(guard::tend(place, None, handle.inputs()));
        return;
    }
    let end = match place.exit_record() {
        Some(record) => End::Recorded(record),
        None => match place.any_record() {
            Some(_) => {
                if let Some(record) = place.record() {
                    process::kill(&record, KILL_TIME).await;
                }
                End::Unseen { stderr_tail: place.stderr_tail() }
            }
            None => End::NotStarted { why: "the agent ended before its guard ran".to_owned() },
        },
    };
    tracing::info!(%worker, ?end, "a worker of an earlier agent has ended");
    if let Some(record) = place.record() {
        process::remove_groups(&record);
    }
    place.remove();
    handle.tell(Input::Adopted(Box::new(spec))).await;
    handle.tell(Input::Ended { worker, end: Box::new(end) }).await;
}

fn is_of(spec: &GuardSpec, dir: &Path) -> bool {
    let name = dir.file_name().and_then(|name| name.to_str());
    spec.version == RECORD_VERSION && name == Some(spec.id.as_str())
}
