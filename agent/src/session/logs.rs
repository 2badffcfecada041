//! Logs as they are on disk: the agent's own, and what each engine wrote on its standard error.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use wire::guard::files;
use wire::{Code, Fault, WorkerId, layout, limits, routes};

use super::exchange::{self, Refused};
use super::workers::worker_id;
use super::{Hive, Shared};
use crate::tail::{Read, Tail};

/// Between two looks at a log that had nothing new.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Lines that are shown when nobody says how many.
const LINES: u32 = 50;

/// How much of a log is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    lines: u32,
    follow: bool,
}

impl Wanted {
    fn of(query: Option<&str>) -> Result<Self, Fault> {
        let mut wanted = Self { lines: LINES, follow: false };
        for part in query.unwrap_or_default().split('&') {
            match part.split_once('=') {
                Some(("lines", count)) => {
                    let count = count.parse().ok().filter(|n| *n <= limits::MAX_LOG_LINES);
                    let message = format!("lines is 0 to {}", limits::MAX_LOG_LINES);
                    wanted.lines =
                        count.ok_or_else(|| Fault::new(Code::InvalidArgument, message))?;
                }
                Some(("follow", "1")) => wanted.follow = true,
                _ => {}
            }
        }
        Ok(wanted)
    }
}

/// `GET /v1/logs`.
pub(super) async fn agent(
    State(hive): Shared,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let wanted = Wanted::of(query.as_deref())?;
    let none = Fault::new(Code::NotFound, "the agent has no log").hint("rbee hive doctor local");
    Ok(send(&hive, vec![hive.dirs.agent_log()], wanted, none).await?)
}

/// `GET /v1/workers/{id}/logs`: of a worker that has ended lately, too.
pub(super) async fn worker(
    State(hive): Shared,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let (worker, wanted) = (worker_id(&id)?, Wanted::of(query.as_deref())?);
    let message = format!("there is no log of a worker {worker}");
    let none = Fault::new(Code::WorkerNotFound, message).hint("rbee worker list --all");
    Ok(send(&hive, places(&hive, &worker), wanted, none).await?)
}

fn places(hive: &Hive, worker: &WorkerId) -> Vec<PathBuf> {
    let alive = layout::worker_dir(&hive.dirs.runtime, worker);
    let ended = layout::ended_log(&hive.dirs.runtime, worker);
    vec![PathBuf::from(alive).join(files::STDERR), ended.into()]
}

/// One reader.
struct Reader {
    tail: Tail,
    follow: bool,
    closing: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

/// Sends the first of `paths` that is there.
async fn send(
    hive: &Arc<Hive>,
    paths: Vec<PathBuf>,
    wanted: Wanted,
    none: Fault,
) -> Result<Response, Fault> {
    let place = Arc::clone(&hive.log_streams).try_acquire_owned().map_err(|_| {
        let message = format!("{} logs are being read already", limits::MAX_LOG_STREAMS);
        Fault::new(Code::RateLimited, message)
    })?;
    let open = move || {
        let mut opened = Err(io::ErrorKind::NotFound.into());
        for path in paths {
            opened = opened.or_else(|_: io::Error| Tail::open(&path, wanted.lines));
        }
        opened
    };
    let tail = on_disk(open).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => none,
        _ => Fault::new(Code::Io, "the log cannot be read").caused_by(&error),
    })?;
    let closing = hive.handle.closing();
    let reader = Reader { tail, follow: wanted.follow, closing, _place: place };
    let bytes = stream::unfold(Some(reader), |reader| async move {
        let (bytes, reader) = reader?.next().await?;
        Some((Ok::<_, Infallible>(bytes), reader))
    });
    Ok(exchange::stream(Body::from_stream(bytes), routes::NDJSON))
}

/// What waits for a disk waits on a thread of its own.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

impl Reader {
    /// The next bytes, and the reader unless they are the last. It is asked when there is room for
    /// them, so a slow line holds up nobody but itself.
    async fn next(mut self) -> Option<(Bytes, Option<Self>)> {
        loop {
            let read = on_disk(move || {
                let read = self.tail.read()?;
                Ok((self, read))
            });
            let (reader, read) = read.await.ok()?;
            self = reader;
            match read {
                Read::Bytes(bytes) => return Some((bytes.into(), Some(self))),
                Read::Nothing if self.follow => {}
                Read::Nothing | Read::Gone => return None,
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                _closing = self.closing.wait_for(|closing| *closing) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_bounded_and_what_it_does_not_say_has_a_default() {
        let of = |query| Wanted::of(query).map(|wanted| (wanted.lines, wanted.follow)).ok();
        assert_eq!(of(None), Some((LINES, false)));
        assert_eq!(of(Some("lines=0&follow=1")), Some((0, true)));
        assert_eq!(of(Some("follow=0&x")), Some((LINES, false)));
        assert_eq!(of(Some("lines=100001")), None);
        assert_eq!(of(Some("lines=-1")), None);
    }
}
