//! The side of the hives, on a thread of its own: they are followed, and effects are carried out
//! there, so that nothing on the way to a hive can hold up a key.

mod answer;
mod operate;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, LocalSet};
use wire::{Fault, HiveName, text};

use super::board::Board;
use super::event::{AskId, Effect, Event, News, Operation, Wanted};
use super::person::{Open, Sitting};
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
use crate::output::progress::bytes;
use crate::output::theme::ThemeName;

/// News of all hives that wait to be taken.
const MAX_WAITING: usize = 256;
/// Shortest time between two boards.
const BOARD_PAUSE: Duration = Duration::from_millis(50);
/// Commands that wait for a loan.
const MAX_LOANS_WAITING: usize = 16;
/// How long the hives' farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// Bytes of a step.
const MAX_STEP_BYTES: usize = 120;

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
        let witness: Arc<dyn Witness> = Arc::new(Told(steps));
        let hives = context.hives();
        let ways: Result<Vec<Way>, Fault> =
            hives.iter().map(|hive| context.way_seen_by(hive, witness.clone())).collect();
        let (sender, news) = mpsc::channel(MAX_WAITING);
        let (again, wanted_again) = mpsc::channel(1);
        let mut links = Links {
            board: Board::new(hives),
            ways: Rc::new(ways?),
            context,
            out,
            news: sender,
            watching: BTreeMap::new(),
            asking: BTreeMap::new(),
            open,
            again,
        };
        let (loans, wanted_loans) = mpsc::channel(MAX_LOANS_WAITING);
        let lending = lender::lend(PathBuf::from(&links.context.environment.dirs.runtime), loans);
        let heard = Heard { news, steps: step, again: wanted_again, loans: wanted_loans };
        let local = LocalSet::new();
        local.spawn_local(lending);
        local.run_until(links.go_on(effects, heard)).await;
        Ok(())
    })
}

/// Passes steps on; when they come faster than they are taken, the next one tells more.
struct Told(mpsc::Sender<(HiveName, String)>);

impl Witness for Told {
    fn sees(&self, hive: &HiveName, step: &Step) {
        let words = match step {
            Step::Connecting => "connecting".to_owned(),
            Step::Probing => "looking at the machine".to_owned(),
            Step::Installing { done, total } => {
                format!("uploading rbee, {} of {}", bytes(*done), bytes(*total))
            }
            Step::Starting => "starting the agent".to_owned(),
            Step::Online => return,
            Step::Note(words) => text::one_line(words, MAX_STEP_BYTES),
        };
        let _ = self.0.try_send((hive.clone(), words));
    }
}

/// What the tasks of this thread have to say.
struct Heard {
    news: mpsc::Receiver<(HiveName, following::News)>,
    steps: mpsc::Receiver<(HiveName, String)>,
    again: mpsc::Receiver<()>,
    loans: mpsc::Receiver<Loan>,
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
    /// Hives that are not there shall be tried.
    again: mpsc::Sender<()>,
}

impl Links {
    async fn go_on(&mut self, mut effects: mpsc::Receiver<Effect>, mut heard: Heard) {
        for index in 0..self.ways.len() {
            self.follow(index);
        }
        let mut due: Option<Instant> = None;
        loop {
            tokio::select! {
                effect = effects.recv() => match effect {
                    Some(effect) => self.carry_out(effect),
                    None => break,
                },
                Some((hive, what)) = heard.news.recv() => {
                    self.board.take(&hive, what, self.out.began.elapsed());
                    due.get_or_insert_with(|| Instant::now() + BOARD_PAUSE);
                }
                Some((hive, words)) = heard.steps.recv() => {
                    self.board.step(&hive, words);
                    due.get_or_insert_with(|| Instant::now() + BOARD_PAUSE);
                }
                Some(loan) = heard.loans.recv() => self.lend(loan),
                Some(()) = heard.again.recv() => self.carry_out(Effect::LookAgain),
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
    fn follow(&mut self, index: usize) {
        let Some(hive) = self.ways.get(index).map(|way| way.hive().clone()) else { return };
        let (ways, context, news) = (self.ways.clone(), self.context.clone(), self.news.clone());
        let task = tokio::task::spawn_local(async move {
            if let Some(way) = ways.get(index) {
                following::watch(way, &context.config.timings, news).await;
            }
        });
        if let Some(old) = self.watching.insert(hive, task) {
            old.abort();
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Ask(wanted) => self.ask(*wanted),
            Effect::Cancel(id) => {
                if let Some(cancel) = self.asking.get(&id) {
                    // A second one while the first is not taken says the same.
                    let _ = cancel.try_send(());
                }
            }
            Effect::LookAgain => {
                for index in 0..self.ways.len() {
                    let hive = self.ways.get(index).map(Transport::hive);
                    if hive.is_some_and(|hive| !self.board.is_online(hive)) {
                        self.follow(index);
                    }
                }
            }
            Effect::Reply(id, text) => self.open.reply(id, text),
            Effect::Operate(operation) => self.operate(operation),
            Effect::KeepTheme(name) => self.keep_theme(name),
            // Those are the screen's.
            Effect::Suspend | Effect::Redraw | Effect::Leave(_) => {}
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

    fn operate(&mut self, operation: Operation) {
        let (ways, context) = (self.ways.clone(), self.context.clone());
        let (events, again) = (self.out.events.clone(), self.again.clone());
        tokio::task::spawn_local(async move {
            let done = operate::operate(&operation, &ways, &context).await;
            // The screen is gone when nobody takes it.
            let _ = events.send(Event::Done(done)).await;
            let _ = again.try_send(());
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
