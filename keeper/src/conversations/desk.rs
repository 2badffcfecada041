//! The file of conversations on a thread of its own: no key waits for a disk.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::{Code, Fault};

use super::export::{self, Format};
use super::store::{LOCK_PATIENCE, Opened, Store};
use super::{Conversation, ConversationId, Entry, Head, Said, TurnId};

/// Jobs that wait while the disk is slow.
const MAX_JOBS: usize = 64;
/// How long the program waits at its end for what is not written yet.
const FAREWELL: Duration = Duration::from_secs(5);

/// Something shall be done with the conversations.
#[derive(Debug, Clone, PartialEq)]
pub enum Job {
    /// Some turns shall be saved.
    Save(Box<Save>),
    /// Those with these words shall be listed; which of the lists it is.
    List(String, u64),
    /// One shall be opened.
    Load(ConversationId),
    /// One gets this title.
    Rename(ConversationId, String),
    /// One shall be no more.
    Delete(ConversationId),
    /// One shall be written to a new file of that directory.
    Export(ConversationId, Format, PathBuf),
}

/// What shall be saved.
#[derive(Debug, Clone, PartialEq)]
pub struct Save {
    /// The conversation.
    pub head: Head,
    /// Those of its turns that changed.
    pub turns: Vec<Said>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Those were saved, with so many bytes of text each.
    Saved(Vec<(TurnId, usize)>),
    /// They could not be.
    NotSaved(ConversationId, Fault),
    /// They could not be, for what they go on from is not in the file any more.
    Gone(ConversationId),
    /// The list of that number, as it was at that time, in milliseconds since 1970.
    Listed(u64, Vec<Entry>, u64),
    /// The conversation.
    Loaded(Box<Conversation>),
    /// It has that title now.
    Renamed(ConversationId, String),
    /// It is no more.
    Deleted(ConversationId),
    /// It is in that file.
    Exported(PathBuf),
    /// Something could not be done, or should be known.
    Failed(Fault),
}

/// Where jobs are given up.
#[derive(Debug)]
pub struct Desk {
    jobs: SyncSender<Job>,
    ended: Receiver<()>,
}

impl Desk {
    /// Opens the file on a new thread; `told` hears what comes of the jobs.
    ///
    /// # Errors
    /// `INTERNAL` when the operating system has no thread.
    pub fn open(
        path: PathBuf,
        clock: impl Fn() -> u64 + Send + 'static,
        told: impl Fn(Reply) + Send + 'static,
    ) -> Result<Self, Fault> {
        let (jobs, taken) = sync_channel(MAX_JOBS);
        let (end, ended) = sync_channel(1);
        let thread = std::thread::Builder::new().name("conversations".into());
        let work = move || Clerk { path, store: None, clock, told }.work(&taken, &end);
        thread.spawn(work).map_err(|error| {
            Fault::new(Code::Internal, "no thread for the conversations").cause(error)
        })?;
        Ok(Self { jobs, ended })
    }

    /// Gives a job up. Nobody waits: while too many wait for the disk it is refused.
    ///
    /// # Errors
    /// What is said of the job then.
    pub fn give(&self, job: Job) -> Result<(), Reply> {
        self.jobs.try_send(job).map_err(|refused| {
            let (TrySendError::Full(job) | TrySendError::Disconnected(job)) = refused;
            refusal(&job, Fault::new(Code::Io, "the disk with the conversations is too slow"))
        })
    }

    /// Waits, within a bound, until everything is written.
    pub fn close(self) {
        drop(self.jobs);
        // It ends by hanging up.
        let _ = self.ended.recv_timeout(FAREWELL);
    }
}

/// Who does the jobs.
struct Clerk<C, T> {
    path: PathBuf,
    store: Option<Store>,
    clock: C,
    told: T,
}

impl<C: Fn() -> u64, T: Fn(Reply)> Clerk<C, T> {
    fn work(mut self, jobs: &Receiver<Job>, end: &SyncSender<()>) {
        // Said at the beginning, not when something was lost.
        if let Err(fault) = self.opened() {
            (self.told)(Reply::Failed(fault));
        }
        while let Ok(job) = jobs.recv() {
            let reply = match self.opened() {
                Ok(()) => self.answer(&job),
                Err(fault) => refusal(&job, fault),
            };
            (self.told)(reply);
        }
        // The last one who has it open empties its log.
        drop(self.store);
        let _ = end.send(());
    }

    /// Opens the file when it is not: one that was locked may not be any more.
    fn opened(&mut self) -> Result<(), Fault> {
        if self.store.is_none() {
            let Opened { store, note } = Store::open(&self.path, LOCK_PATIENCE)?;
            self.store = Some(store);
            if let Some(note) = note {
                (self.told)(Reply::Failed(note));
            }
        }
        Ok(())
    }

    fn answer(&mut self, job: &Job) -> Reply {
        let now_ms = (self.clock)();
        let Some(store) = &mut self.store else {
            return refusal(job, Fault::new(Code::Io, "no file of conversations is open"));
        };
        let done = match job {
            Job::Save(save) => store.save(&save.head, &save.turns, now_ms).map(|saved| {
                let turns = save.turns.iter().map(|said| (said.id, said.bytes()));
                if saved { Reply::Saved(turns.collect()) } else { Reply::Gone(save.head.id) }
            }),
            Job::List(search, number) => {
                store.list(search).map(|entries| Reply::Listed(*number, entries, now_ms))
            }
            Job::Load(id) => store.load(*id).map(|it| Reply::Loaded(Box::new(it))),
            Job::Rename(id, title) => {
                store.rename(*id, title).map(|()| Reply::Renamed(*id, title.clone()))
            }
            Job::Delete(id) => store.delete(*id).map(|()| Reply::Deleted(*id)),
            Job::Export(id, format, dir) => exported(store, *id, *format, dir),
        };
        done.unwrap_or_else(|fault| refusal(job, fault))
    }
}

fn exported(store: &Store, id: ConversationId, format: Format, dir: &Path) -> Result<Reply, Fault> {
    let conversation = store.load(id)?;
    Ok(Reply::Exported(export::write(&conversation, format, dir)?))
}

fn refusal(job: &Job, fault: Fault) -> Reply {
    match job {
        Job::Save(save) => Reply::NotSaved(save.head.id, fault),
        _ => Reply::Failed(fault),
    }
}
