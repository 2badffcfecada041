//! `rbee` without a command: all hives live, and a chat that streams.
//!
//! ```text
//! terminal ─ Event ─▶ update ─ Effect ─▶ links ─▶ hives
//!     ▲                 │                  │
//!     └── view ◀─ State ┘◀──── Event ──────┘
//! ```
//! `update` and `view` are pure. This thread has the terminal and nothing else; everything that may
//! wait for a hive is on the thread of `links`.

mod archive;
mod board;
mod chat;
mod commands;
mod desk;
mod diary;
mod draft;
mod editor;
pub mod event;
mod face;
mod inline;
mod input;
mod keys;
mod lanes;
mod links;
mod look;
mod markdown;
mod operation;
mod osc;
mod overlay;
pub mod own;
mod panels;
mod person;
mod recorder;
mod records;
pub mod replay;
mod rows;
mod screen;
mod shell;
mod state;
mod trace;
mod transcript;
mod update;
mod view;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Signal as Number, kill_current_process_group};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use wire::{Code, Fault, HiveName, ModelRef};

use crate::context::{Context, block_on};
use crate::conversations::desk::{Desk, Job, Reply};
use crate::conversations::{Conversation, FILE, Settings};
use crate::failure::Failure;
use crate::habits;
use board::Board;
use chat::{Chat, Partner};
use desk::Work;
use event::{Effect, Event, Leave};
use face::Face;
use input::{Signals, Typing, next, of_terminal};
use keys::KeyMap;
use look::Look;
use recorder::keep::Kept;
use state::{Extent, State};

/// Events and effects that wait to be taken. A request whose tokens are not taken waits.
const MAX_WAITING: usize = 1024;
/// Shortest time between two frames that nobody asked for with a key.
const FRAME: Duration = Duration::from_millis(34);
/// The share of the time that those may take: a frame that took long, as on a slow terminal, is
/// followed by a pause of so many times that.
const FRAME_REST: u32 = 4;
/// Shortest time between two frames of any kind.
const KEY_FRAME: Duration = Duration::from_millis(3);
/// Seconds that the wall clock may differ from what is reckoned before it is asked again.
const CLOCK_SLACK_S: u64 = 2;
/// How often times on the screen go on.
const TICK: Duration = Duration::from_secs(1);

/// Shows the TUI until the person leaves it.
///
/// # Errors
/// When the terminal cannot be used; Ctrl-C's signal and those that ask to end.
pub fn open(context: &Context) -> Result<Leave, Failure> {
    screen::give_back_in_a_panic();
    block_on(opened(context, None))
}

/// How a chat begins below what the terminal shows already.
#[derive(Debug)]
pub struct Start {
    /// Who answers.
    pub model: ModelRef,
    /// Only there, when the person said so.
    pub hive: Option<HiveName>,
    /// How.
    pub settings: Settings,
    /// Whether reasoning is shown.
    pub reasoning: bool,
    /// What goes on.
    pub conversation: Option<Conversation>,
}

impl Start {
    fn chat(&self) -> Chat {
        let partner = Partner { model: self.model.clone(), hive: self.hive.clone() };
        let mut chat = Chat::with(Some(partner));
        chat.record.settings = self.settings.clone();
        chat.reasoning = self.reasoning;
        chat
    }
}

/// Chats below what the terminal shows already, until the person leaves.
///
/// # Errors
/// As [`open`].
pub fn inline(context: &Context, start: Start) -> Result<(), Failure> {
    screen::give_back_in_a_panic();
    block_on(opened(context, Some(start))).map(|_| ())
}

async fn opened(context: &Context, start: Option<Start>) -> Result<Leave, Failure> {
    let began = Instant::now();
    // Before the terminal is taken: a signal that nobody hears would leave it as it is then.
    let signals = Signals::listen()?;
    let (events, incoming) = mpsc::channel(MAX_WAITING);
    let (outgoing, effects) = mpsc::channel(MAX_WAITING);
    let board = Board::new(context.hives());
    let partner = || context.default_model().ok().map(|model| Partner { model, hive: None });
    let chat = start.as_ref().map_or_else(|| Chat::with(partner()), Start::chat);
    let (told, boards) = watch::channel(Arc::new(board.clone()));
    let mut screen = Face::of_this_process(start.is_some())?;
    if context.config.tui.mouse {
        screen.take_mouse(true)?;
    }
    let mut state = State::new(screen.size(), board, chat, context.theme.clone());
    state.models = own::models(context);
    state.mouse = context.config.tui.mouse;
    state.stops = habits::stops(&context.environment.dirs.state);
    let stopped = state.stops;
    own::take_themes(&mut state, context);
    own::take_keys(&mut state, context);
    state.diary.set_clock(began.elapsed(), second_of_day());
    let run = &context.config.run;
    state.defaults = Settings { system: None, ctx_size: run.ctx_size, sampling: run.sampling() };
    state.archive.begin(rand::random());
    if start.is_some() {
        state.extent = Extent::Inline;
    }
    let kept = Kept::begin(&state, context, KeyMap::own(&own::keys_file(context)));
    kept.save_in_a_panic();
    let mut tui = Tui {
        screen,
        state,
        context,
        began,
        effects: outgoing,
        desk: None,
        typed: Some(Typing::start()?),
        drawn: None,
        cost: Duration::ZERO,
        kept,
        wanted: None,
    };
    if let Some(conversation) = start.and_then(|start| start.conversation) {
        let _ = tui.take(Event::Conversations(Reply::Loaded(Box::new(conversation)))).await?;
    }
    tui.draw()?;
    tracing::info!(ms = began.elapsed().as_millis(), "the first frame is drawn");
    tui.desk = Some(desk(context, events.clone())?);
    let out = links::Out { events, board: told, began };
    let links = std::thread::Builder::new().name("links".into());
    let theirs = context.clone();
    let links = links
        .spawn(move || links::run(&theirs, effects, out))
        .map_err(|error| Fault::new(Code::Internal, "no thread for the hives").cause(error))?;
    let left = tui.go_on(signals, incoming, boards).await;
    // What is typed from now on is the shell's.
    tui.stop_typing().await;
    if tui.state.stops != stopped {
        tui.remember_stops();
    }
    tui.save_the_rest();
    // The other thread ends when nobody has effects for it any more.
    drop(tui);
    match (left, links.join()) {
        (_, Err(panic)) => std::panic::resume_unwind(panic),
        (Err(_), Ok(Err(failure))) => Err(failure),
        (left, _) => left,
    }
}

/// The file of conversations, on its thread.
fn desk(context: &Context, events: mpsc::Sender<Event>) -> Result<Desk, Fault> {
    let unix_ms = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    };
    // The screen is gone when nobody takes it.
    let told = move |reply| drop(events.blocking_send(Event::Conversations(reply)));
    Desk::open(context.environment.dirs.data.join(FILE), unix_ms, told)
}

/// The side of the terminal.
struct Tui<'a> {
    screen: Face,
    state: State,
    context: &'a Context,
    began: Instant,
    effects: mpsc::Sender<Effect>,
    /// The file of conversations; none before the first frame.
    desk: Option<Desk>,
    /// What is typed; none while the terminal is somebody else's.
    typed: Option<Typing>,
    /// When the last frame was drawn.
    drawn: Option<Instant>,
    /// What it took.
    cost: Duration,
    /// What happened last.
    kept: Kept,
    /// The words of a program that shall have the terminal next.
    wanted: Option<Vec<OsString>>,
}

impl Tui<'_> {
    async fn go_on(
        &mut self,
        mut signals: Signals,
        mut events: mpsc::Receiver<Event>,
        mut boards: watch::Receiver<Arc<Board>>,
    ) -> Result<Leave, Failure> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // When the next frame is due; none while nothing is new.
        let mut due: Option<Instant> = None;
        loop {
            let (event, pause) = tokio::select! {
                biased;
                () = Signals::to_end(&mut signals.end) => return Err(Failure::interrupted()),
                _ = signals.went_on.recv() => {
                    self.screen.enter()?;
                    (Event::Resized(self.screen.size().0, self.screen.size().1), KEY_FRAME)
                }
                input = next(&mut self.typed) => match of_terminal(input)? {
                    Some(event) => (event, KEY_FRAME),
                    None => continue,
                },
                () = crate::ask::passed(due), if due.is_some() => {
                    due = None;
                    self.draw()?;
                    continue;
                }
                event = events.recv() => (event.ok_or_else(links_ended)?, self.pause()),
                changed = boards.changed() => {
                    changed.map_err(|_| links_ended())?;
                    (Event::Board(boards.borrow_and_update().clone()), self.pause())
                }
                _ = tick.tick() => (self.tick().await?, self.pause()),
            };
            if let Event::Resized(columns, rows) = event {
                self.screen.resize((columns, rows))?;
            }
            if let Some(leave) = self.take(event).await? {
                return Ok(leave);
            }
            if let Some(words) = self.wanted.take() {
                self.lend_terminal(&words).await?;
                signals = Signals::listen()?;
            }
            let next = self.drawn.map_or_else(Instant::now, |drawn| drawn + pause);
            due = Some(due.map_or(next, |due| due.min(next)));
        }
    }

    /// Time passed. A wall clock that was set, or that went on while this machine slept, is told
    /// before.
    async fn tick(&mut self) -> Result<Event, Failure> {
        if screen::is_gone() {
            // Whoever does not hear the signal of it, as under `nohup`, ends all the same.
            return Err(Fault::new(Code::Io, "the terminal is gone").into());
        }
        let shown = second_of_day();
        let reckoned = self.state.diary.second_of_day(self.began.elapsed());
        if shown.abs_diff(reckoned) > CLOCK_SLACK_S {
            // It does not end the program.
            let _ = self.take(Event::Clock(shown)).await?;
        }
        Ok(Event::Tick)
    }

    /// Takes an event; how the program is left, when it is.
    async fn take(&mut self, event: Event) -> Result<Option<Leave>, Failure> {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let now = self.began.elapsed();
            self.kept.with(|recorder| recorder.take(&self.state, &event, now));
            for effect in update::update(&mut self.state, event, now) {
                match effect {
                    Effect::Leave(leave) => return Ok(Some(leave)),
                    Effect::Redraw => self.screen.resize(self.state.size)?,
                    Effect::Suspend => self.suspend()?,
                    Effect::Run(words) => self.wanted = Some(words),
                    Effect::Mouse(taken) => self.screen.take_mouse(taken)?,
                    Effect::Conversations(job) => self.file(job),
                    Effect::Record { whole } => self.save(whole),
                    Effect::Desk(Work::Edit(text)) => events.push(self.edit(&text).await?),
                    Effect::Desk(Work::Copy(text)) => self.copy(text).await?,
                    effect => self.effects.send(effect).await.map_err(|_| links_ended())?,
                }
            }
        }
        Ok(None)
    }

    /// Writes what happened last to a file.
    fn save(&mut self, whole: bool) {
        match self.kept.save(whole) {
            Ok((count, path)) => {
                let path = crate::model::path_word(&path);
                self.state.tell(format!("{count} events are recorded: rbee replay {path}"));
            }
            Err(fault) => self.state.warn(&fault),
        }
    }

    /// Gives a job to who has the file of conversations.
    fn file(&mut self, job: Job) {
        let Some(desk) = &self.desk else { return };
        if let Err(reply) = desk.give(job) {
            let _ = update::conversations::take(&mut self.state, reply);
        }
    }

    /// What was chosen when leaving is proposed the next time.
    fn remember_stops(&self) {
        let dir = &self.context.environment.dirs.state;
        if let Err(error) = habits::remember_stops(dir, self.state.stops) {
            tracing::warn!(%error, "what was chosen cannot be remembered");
        }
    }

    /// Saves what is not saved, however the program is left.
    fn save_the_rest(&mut self) {
        for job in archive::rest(&mut self.state) {
            self.file(job);
        }
        if let Some(desk) = self.desk.take() {
            desk.close();
        }
    }

    /// Reads no more of what is typed.
    async fn stop_typing(&mut self) {
        if let Some(typing) = self.typed.take() {
            typing.stop().await;
        }
    }

    /// Lends the terminal to the person's editor until it ends.
    async fn edit(&mut self, text: &str) -> Result<Event, Failure> {
        // Nothing may read what is typed for somebody else.
        self.stop_typing().await;
        self.screen.leave();
        let environment = &self.context.environment;
        let state = &environment.dirs.state;
        let edited = links::desk::edit(text, &environment.desk, state).await;
        self.screen.enter()?;
        self.typed = Some(Typing::start()?);
        self.state.size = self.screen.size();
        Ok(Event::Desk(desk::News::Edited(edited)))
    }

    /// Gives a text to the clipboard of the terminal, and to the one of this machine.
    async fn copy(&mut self, text: String) -> Result<(), Failure> {
        if let Some(sequence) = osc::clipboard(&text, self.context.environment.desk.tmux) {
            screen::pass_on(&sequence)?;
        }
        let copy = Effect::Desk(Work::Copy(text));
        self.effects.send(copy).await.map_err(|_| links_ended())
    }

    /// Gives the terminal to the shell until it lets this program go on.
    fn suspend(&mut self) -> Result<(), Failure> {
        self.screen.leave();
        kill_current_process_group(Number::TSTP).map_err(|error| {
            Fault::new(Code::Internal, "the program cannot be stopped").cause(error)
        })?;
        Ok(self.screen.enter()?)
    }

    /// Gives the terminal to a program until that ends.
    async fn lend_terminal(&mut self, words: &[OsString]) -> Result<(), Failure> {
        // Nothing may read what is typed for somebody else.
        self.stop_typing().await;
        self.screen.leave();
        let ended = shell::run(words).await;
        self.screen.enter()?;
        self.typed = Some(Typing::start()?);
        self.state.size = self.screen.size();
        match ended {
            // An error of the program itself was told by it.
            Ok(()) => {}
            // A signal that asks this one to end.
            Err(fault) if fault.code == Code::Cancelled => return Err(Failure::interrupted()),
            Err(fault) => drop(self.take(Event::Done(Err(fault))).await?),
        }
        Ok(())
    }

    /// The time between the last frame and the next one that no key asks for.
    fn pause(&self) -> Duration {
        FRAME.max(self.cost.saturating_mul(FRAME_REST))
    }

    fn draw(&mut self) -> Result<(), Failure> {
        let environment = &self.context.environment;
        let look = Look::new(&self.state.theme, environment.depth, environment.unicode);
        let began = Instant::now();
        self.screen.draw(&mut self.state, &look)?;
        self.cost = began.elapsed();
        self.drawn = Some(Instant::now());
        Ok(())
    }
}

/// The local time of day, in seconds.
fn second_of_day() -> u64 {
    let time = jiff::Zoned::now().time();
    let [hours, minutes, seconds] = [time.hour(), time.minute(), time.second()]
        .map(|part| u64::try_from(part).unwrap_or_default());
    (hours * 60 + minutes) * 60 + seconds
}

/// The thread of the hives ended; why is told by its end.
fn links_ended() -> Failure {
    Fault::new(Code::Internal, "the part that talks with the hives ended").into()
}

#[cfg(test)]
mod tests;
