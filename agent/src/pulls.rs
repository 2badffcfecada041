//! Models that are being fetched: each by one process of its own, however many ask for it, for as
//! long as somebody listens.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Semaphore, broadcast};
use wire::pull::{FetchOrder, PullEvent, PullRequest, StoredFile, StoredModel};
use wire::settings::AgentSettings;
use wire::{Code, Fault, ModelRef, Timings, limits, ndjson};

use crate::platform;
use crate::store::Store;

/// Events that may wait for one slow listener; it misses older ones, and never the last.
const BACKLOG: usize = 64;
/// What the hub's library shall not do of its own accord: report what it fetched, and keep ten
/// gigabytes of it a second time.
const MANNERS: [(&str, &str); 2] =
    [("HF_HUB_DISABLE_TELEMETRY", "1"), ("HF_XET_CHUNK_CACHE_SIZE_BYTES", "0")];
/// Where that library may write, in the store's directory: nothing of it is elsewhere in a home.
const LIBRARY: &str = "hub";
/// Bytes of a child's output that are read at once.
const READ_BYTES: usize = 16 * 1024;
/// Bytes of what a child says on its standard error that are repeated.
const MAX_COMPLAINT_BYTES: u64 = 1024;

/// All that are under way.
#[derive(Debug)]
pub struct Pulls {
    program: PathBuf,
    store: Arc<Store>,
    settings: AgentSettings,
    timings: Timings,
    running: Mutex<BTreeMap<ModelRef, Running>>,
    places: Semaphore,
}

/// One that is under way.
#[derive(Debug)]
struct Running {
    news: broadcast::Sender<PullEvent>,
    /// What whoever comes later is told first.
    found: Option<PullEvent>,
}

/// Hears of one fetching; when the last listener is dropped it ends.
#[derive(Debug)]
pub struct Listener {
    first: Option<PullEvent>,
    news: broadcast::Receiver<PullEvent>,
}

impl Listener {
    /// The next event; nothing after the last one.
    pub async fn next(&mut self) -> Option<PullEvent> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            match self.news.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Pulls {
    /// None yet. `program` is this one.
    pub fn new(
        program: PathBuf,
        store: Arc<Store>,
        settings: AgentSettings,
        timings: Timings,
    ) -> Self {
        let (running, places) = (Mutex::default(), Semaphore::new(limits::MAX_PULLS));
        Self { program, store, settings, timings, running, places }
    }

    /// Listens to the fetching of a model; begins it when nobody has.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a model that is not of a hub.
    pub fn join(self: &Arc<Self>, request: PullRequest) -> Result<Listener, Fault> {
        let ModelRef::Hub { repo, selector } = request.model.clone() else {
            let message = format!("{} is no model of a hub", request.model);
            return Err(Fault::new(Code::InvalidArgument, message).hint("rbee pull hf:ORG/REPO"));
        };
        let mut running = self.running();
        if let Some(one) = running.get(&request.model) {
            return Ok(Listener { first: one.found.clone(), news: one.news.subscribe() });
        }
        let (news, receiver) = broadcast::channel(BACKLOG);
        running.insert(request.model.clone(), Running { news: news.clone(), found: None });
        let order = FetchOrder {
            repo,
            selector,
            source: request.source,
            dir: self.store.dir().to_string_lossy().into_owned(),
            reserve_bytes: self.reserve_bytes(),
            timings: self.timings.clone(),
        };
        tokio::spawn(Arc::clone(self).pull(request.model, order, news));
        Ok(Listener { first: None, news: receiver })
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<ModelRef, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reserve_bytes(&self) -> u64 {
        let disk = platform::disk(self.store.dir());
        disk.map_or(0, |disk| self.settings.reserve_of_disk(disk.total_bytes))
    }

    async fn pull(
        self: Arc<Self>,
        model: ModelRef,
        order: FetchOrder,
        news: broadcast::Sender<PullEvent>,
    ) {
        tracing::info!(%model, "pull begins");
        let fetched = tokio::select! {
            fetched = self.fetched(&model, &order, &news) => fetched,
            // Dropping the rest of it ends its process.
            () = self.abandoned(&model, &news) => {
                tracing::info!(%model, "pull is given up: nobody listens");
                return;
            }
        };
        let last = match fetched {
            Ok((revision, files)) => self.kept(model.clone(), revision, files).await,
            Err(fault) => Err(fault),
        };
        let last = match last {
            Ok(kept) => {
                tracing::info!(%model, bytes = kept.bytes, "pull is done");
                PullEvent::Done { model: kept }
            }
            Err(fault) => {
                tracing::error!(%model, code = fault.code.as_str(), "pull failed: {fault}");
                PullEvent::Failed { fault }
            }
        };
        // Whoever comes from now on begins anew, and hears of its own end.
        self.running().remove(&model);
        let _nobody = news.send(last);
    }

    /// Waits until nobody listens any more, and takes the fetching out of the list.
    async fn abandoned(&self, model: &ModelRef, news: &broadcast::Sender<PullEvent>) {
        loop {
            news.closed().await;
            let mut running = self.running();
            // Somebody may have come between the two.
            if news.receiver_count() == 0 {
                running.remove(model);
                return;
            }
        }
    }

    async fn kept(
        &self,
        model: ModelRef,
        revision: String,
        files: Vec<StoredFile>,
    ) -> Result<StoredModel, Fault> {
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || store.keep(&model, revision, files))
            .await
            .map_err(|error| Fault::new(Code::Internal, "keeping the model failed").cause(error))?
    }

    /// Runs the process that fetches, and passes on what it says.
    async fn fetched(
        &self,
        model: &ModelRef,
        order: &FetchOrder,
        news: &broadcast::Sender<PullEvent>,
    ) -> Result<(String, Vec<StoredFile>), Fault> {
        let _place = self.places.acquire().await;
        let mut child = Command::new(&self.program)
            .args(["worker", "fetch"])
            .envs(MANNERS)
            .env("HF_HOME", self.store.dir().join(LIBRARY))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed("cannot be started").caused_by(&error))?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed("has no pipes"));
        };
        let line = zeroize::Zeroizing::new(ndjson::encode(order)?);
        stdin.write_all(&line).await.map_err(|error| failed("hears nothing").caused_by(&error))?;
        match self.listen(model, stdout, news).await? {
            Some(PullEvent::Fetched { revision, files }) => Ok((revision, files)),
            Some(PullEvent::Failed { fault }) => Err(fault),
            _ => Err(ended(child, stdin).await),
        }
    }

    /// Passes on events until the one that is the last of the process.
    async fn listen(
        &self,
        model: &ModelRef,
        mut stdout: ChildStdout,
        news: &broadcast::Sender<PullEvent>,
    ) -> Result<Option<PullEvent>, Fault> {
        let (mut decoder, mut bytes) = (ndjson::Decoder::default(), vec![0; READ_BYTES]);
        loop {
            let read = stdout.read(&mut bytes).await;
            let read = read.map_err(|error| failed("cannot be heard").caused_by(&error))?;
            let mut events = Vec::new();
            decoder.push(bytes.get(..read).unwrap_or_default(), &mut events)?;
            for event in events {
                match event {
                    PullEvent::Fetched { .. } | PullEvent::Failed { .. } => return Ok(Some(event)),
                    PullEvent::Done { .. } | PullEvent::Unknown => {}
                    event => {
                        if matches!(event, PullEvent::Found { .. })
                            && let Some(one) = self.running().get_mut(model)
                        {
                            one.found = Some(event.clone());
                        }
                        let _nobody = news.send(event);
                    }
                }
            }
            if read == 0 {
                return Ok(None);
            }
        }
    }
}

/// What became of a process that ended without its last word.
async fn ended(mut child: Child, stdin: ChildStdin) -> Fault {
    drop(stdin);
    let mut complaint = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        // What can be read of it is all there is to tell.
        let _read = stderr.take(MAX_COMPLAINT_BYTES).read_to_end(&mut complaint).await;
    }
    let fault = match child.wait().await {
        Ok(status) => failed(&format!("ended with {status}")),
        Err(error) => failed("is lost").caused_by(&error),
    };
    match String::from_utf8_lossy(&complaint).lines().last() {
        Some(line) => fault.cause(wire::text::one_line(line, 512)),
        None => fault,
    }
}

fn failed(how: &str) -> Fault {
    let message = format!("the process that fetches models {how}");
    Fault::new(Code::DownloadFailed, message).hint("rbee hive logs local")
}
