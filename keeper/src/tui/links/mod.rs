//! The side of the hives, on a thread of its own: they are followed, and effects are carried out
//! there, so that nothing on the way to a hive can hold up a key.

mod answer;
mod command;
pub mod desk;
mod follow;
mod models;
mod operate;
mod operating;
mod told;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, LocalSet};
use wire::event::Event as Said;
use wire::{Code, Fault, HiveName};

use super::board::Board;
use super::desk::Work;
use super::event::{AskId, Effect, Event, News, Wanted};
use super::person::{Open, Sitting};
use super::records::RecordId;
use crate::ask;
use crate::bootstrap::{Step, Witness};
use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::hives::Registry;
use crate::interrupt::Interrupts;
use crate::link::Transport;
use crate::link::loan::lender::{self, Loan};
use crate::link::watch as following;
use crate::link::way::Way;
use crate::output::theme::ThemeName;
use operate::Change;
use operating::Operating;
use told::Rows;

/// News of all hives that wait to be taken.
const MAX_WAITING: usize = 256;
/// Longest time that something new of a hive waits for others, so that one board tells them all.
const BOARD_PAUSE: Duration = Duration::from_millis(50);
/// The same for figures, which each hive tells each second.
const FIGURES_PAUSE: Duration = Duration::from_millis(250);
/// Commands that wait for a loan.
const MAX_LOANS_WAITING: usize = 16;
/// How long the hives' farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where the hives' side tells what it has.
pub struct Out {
    /// What must not be lost.
    pub events: mpsc::Sender<Event>,
    /// The latest of what is known of the hives.
    pub board: watch::Sender<Arc<Board>>,
    /// When the program began: the zero of all times.
    pub began: Instant,
}

/// Follows the hives and carries out effects until nobody sends any more.
///
/// # Errors
/// `INTERNAL` when the operating system refuses an event loop; `HIVE_NOT_FOUND` never, because the
/// names are the configuration's own.
pub fn run(context: &Context, effects: mpsc::Receiver<Effect>, out: Out) -> Result<(), Failure> {
    block_on(async {
        let (steps, step) = mpsc::channel(MAX_WAITING);
        let open = Open::default();
        let person = Sitting { events: out.events.clone(), open: open.clone() };
        let dialer = context.dialer.asking(Arc::new(person));
        let context = Rc::new(Context { dialer, ..context.clone() });
        let witness: Arc<dyn Witness> = Arc::new(Rows(steps));
        let hives = context.hives();
        let ways: Result<Vec<Way>, Fault> =
            hives.iter().map(|hive| context.way_seen_by(hive, witness.clone())).collect();
        let (sender, news) = mpsc::channel(MAX_WAITING);
        let (changes, over) = mpsc::channel(MAX_WAITING);
        let mut links = Links {
            board: Board::new(hives),
            ways: Rc::new(ways?),
            context,
            out,
            news: sender,
            watching: BTreeMap::new(),
            asking: BTreeMap::new(),
            open,
            witness,
            operating: BTreeMap::new(),
            changes,
        };
        let (loans, wanted_loans) = mpsc::channel(MAX_LOANS_WAITING);
        let lending = lender::lend(PathBuf::from(&links.context.environment.dirs.runtime), loans);
        let heard = Heard { news, steps: step, changes: over, loans: wanted_loans };
        let local = LocalSet::new();
        local.spawn_local(lending);
        local.run_until(links.go_on(effects, heard)).await;
        Ok(())
    })
}

/// What the tasks of this thread have to say.
struct Heard {
    news: mpsc::Receiver<(HiveName, following::News)>,
    steps: mpsc::Receiver<(HiveName, Step)>,
    changes: mpsc::Receiver<(RecordId, Option<Change>)>,
    loans: mpsc::Receiver<Loan>,
}

/// How long news may wait for others.
fn pause_after(news: &following::News) -> Duration {
    match news {
        following::News::Event(event) if is_figures(event) => FIGURES_PAUSE,
        _ => BOARD_PAUSE,
    }
}

/// Whether an event only tells anew what is told all the time.
fn is_figures(event: &Said) -> bool {
    matches!(event, Said::Telemetry { .. } | Said::Heartbeat { .. })
}

/// The next board, at the latest after a pause.
fn sooner(due: Option<Instant>, pause: Duration) -> Instant {
    let end = Instant::now() + pause;
    due.map_or(end, |due| due.min(end))
}

struct Links {
    context: Rc<Context>,
    ways: Rc<Vec<Way>>,
    board: Board,
    out: Out,
    news: mpsc::Sender<(HiveName, following::News)>,
    watching: BTreeMap<HiveName, JoinHandle<()>>,
    asking: BTreeMap<AskId, mpsc::Sender<()>>,
    open: Open,
    /// Who is told of a hive's steps.
    witness: Arc<dyn Witness>,
    /// Operations that go on.
    operating: BTreeMap<RecordId, Operating>,
    /// What they changed.
    changes: mpsc::Sender<(RecordId, Option<Change>)>,
}

impl Links {
    async fn go_on(&mut self, mut effects: mpsc::Receiver<Effect>, mut heard: Heard) {
        for way in self.ways.clone().iter() {
            self.follow(way);
        }
        let mut due: Option<Instant> = None;
        loop {
            tokio::select! {
                effect = effects.recv() => match effect {
                    Some(effect) => self.carry_out(effect),
                    None => break,
                },
                Some((hive, what)) = heard.news.recv() => {
                    let pause = pause_after(&what);
                    self.board.take(&hive, what, self.out.began.elapsed());
                    due = Some(sooner(due, pause));
                }
                Some((hive, step)) = heard.steps.recv() => {
                    self.step(&hive, &step);
                    due = Some(sooner(due, BOARD_PAUSE));
                }
                Some((id, change)) = heard.changes.recv() => {
                    self.changed(id, change);
                    due = Some(sooner(due, BOARD_PAUSE));
                }
                Some(loan) = heard.loans.recv() => self.lend(loan),
                () = ask::passed(due), if due.is_some() => {
                    due = None;
                    self.out.board.send_replace(Arc::new(self.board.clone()));
                }
            }
        }
        // Who follows a hive that is there sees that nobody listens, and takes its leave.
        drop(heard);
        let online = std::mem::take(&mut self.watching).into_iter();
        let online = online.filter(|(hive, _)| self.board.is_online(hive)).map(|(_, task)| task);
        let _late = tokio::time::timeout(FAREWELL, join_all(online)).await;
    }

    /// Follows one hive, from the beginning.
    fn follow(&mut self, way: &Way) {
        let (way, context, news) = (way.clone(), self.context.clone(), self.news.clone());
        let hive = way.hive().clone();
        let task = tokio::task::spawn_local(async move {
            following::watch(&way, &context.config.timings, news).await;
        });
        if let Some(old) = self.watching.insert(hive, task) {
            old.abort();
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Ask(wanted) => self.ask(*wanted),
            Effect::Desk(work) => self.desk(work),
            Effect::Cancel(id) => {
                if let Some(cancel) = self.asking.get(&id) {
                    // A second one while the first is not taken says the same.
                    let _ = cancel.try_send(());
                }
            }
            Effect::LookAgain => {
                for way in self.ways.clone().iter() {
                    if !self.board.is_online(way.hive()) {
                        self.follow(way);
                    }
                }
            }
            Effect::Reply(id, text) => self.open.reply(id, text),
            Effect::Operate(id, operation) => self.operate(id, *operation),
            Effect::Abandon(id) => self.abandon(id),
            Effect::KeepTheme(name) => self.keep_theme(name),
            Effect::Shell(hive) => self.shell(&hive),
            // Those are the screen's.
            Effect::Run(_)
            | Effect::Suspend
            | Effect::Record { .. }
            | Effect::Conversations(_)
            | Effect::Redraw
            | Effect::Mouse(_)
            | Effect::Leave(_) => {}
        }
    }

    fn keep_theme(&self, name: ThemeName) {
        let (context, events) = (self.context.clone(), self.out.events.clone());
        tokio::task::spawn_local(async move {
            let kept = Registry::of(&context.environment).set_theme(&name).await;
            let kept = kept.map(|path| format!("theme = \"{name}\" is in {}", path.display()));
            // The screen is gone when nobody takes it.
            let _ = events.send(Event::Done(kept)).await;
        });
    }

    /// Lets a command of this user use a connection.
    fn lend(&self, loan: Loan) {
        let (ways, context) = (self.ways.clone(), self.context.clone());
        tokio::task::spawn_local(async move {
            lender::serve(loan, &ways, &context.build).await;
        });
    }

    /// Does something on the person's own machine.
    fn desk(&self, work: Work) {
        let (context, events) = (self.context.clone(), self.out.events.clone());
        tokio::task::spawn_local(async move {
            let environment = &context.environment;
            let home = environment.desk.home.clone();
            let ended = |_| Fault::new(Code::Internal, "the file's reader ended");
            let event = match work {
                Work::Copy(text) => Event::Done(desk::copy(&text, &environment.desk).await),
                // A file may be on a disk that does not answer.
                Work::Attach(path) => {
                    let read = tokio::task::spawn_blocking(move || desk::attach(&path, &home));
                    let file = read.await.map_err(ended).and_then(|file| file);
                    Event::Desk(super::desk::News::Attached(file))
                }
                Work::Complete(typed) => {
                    let start = typed.clone();
                    let look = tokio::task::spawn_blocking(move || desk::complete(&start, &home));
                    let found = look.await.unwrap_or_default();
                    Event::Desk(super::desk::News::Completed(typed, found))
                }
                // That is the screen's.
                Work::Edit(_) => return,
            };
            // The screen is gone when nobody takes it.
            let _ = events.send(event).await;
        });
    }

    fn ask(&mut self, wanted: Wanted) {
        let (cancel, cancelled) = mpsc::channel(1);
        self.asking.retain(|_, cancel| !cancel.is_closed());
        self.asking.insert(wanted.id, cancel);
        let (ways, context) = (self.ways.clone(), self.context.clone());
        let events = self.out.events.clone();
        tokio::task::spawn_local(async move {
            let id = wanted.id;
            let mut interrupts = Interrupts::told(cancelled);
            let outcome = answer::answer(wanted, &ways, &context, &events, &mut interrupts).await;
            let outcome = outcome
                .map_err(|failure| if failure.is_silent() { None } else { Some(failure.fault) });
            // The screen is gone when nobody takes it.
            let _ = events.send(Event::Answer(id, News::Ended(outcome))).await;
        });
    }
}
