//! One request: from the conversation to the last token.

use std::time::Duration;

use tokio::sync::mpsc;
use wire::generate::{Chunk, Prompt};
use wire::pull::{HubSource, PullEvent};
use wire::worker::WorkerInfo;
use wire::{Code, Fault, HiveName, ModelRef, RequestId};

use crate::ask::{self, Audience, Ending, Placed, Wish};
use crate::context::Context;
use crate::failure::Failure;
use crate::fleet::place::Want;
use crate::interrupt::Interrupts;
use crate::link::Transport;
use crate::link::client::Ask;
use crate::link::way::Way;
use crate::output::progress::{Fetching, fetching};
use crate::ssh::client::patience::Deadline;
use crate::tui::event::{AskId, Event, News, Piece, Wanted};

/// Asks for an answer and tells of it as it comes.
pub async fn answer(
    wanted: Wanted,
    ways: &[Way],
    context: &Context,
    events: &mpsc::Sender<Event>,
    interrupts: &mut Interrupts,
) -> Result<Ending, Failure> {
    let prompt = Prompt::Chat(wanted.messages);
    prompt.check()?;
    let run = &context.config.run;
    let sampling = wanted.settings.sampling_over(&run.sampling());
    let ask = Ask { id: RequestId::random(), prompt, sampling, deadline: None };
    crate::operations::why::remember(context, ask.id);
    let (hive, ctx_size) = (wanted.hive, wanted.settings.ctx_size.or(run.ctx_size));
    let want = Want { model: wanted.model, hive: hive.clone(), device: None, ctx_size };
    let wish = Wish { want, keep_alive_s: None, ask, is_last: false };
    let only = hive.and_then(|hive| ways.iter().position(|way| *way.hive() == hive));
    let ways = only.map_or(ways, |index| ways.get(index..=index).unwrap_or_default());
    let mut listener = Listener { id: wanted.id, events, context, tokens: 0 };
    let timings = &context.config.timings;
    let outcome = ask::answer(ways, timings, &wish, &mut listener, interrupts).await;
    let lost = |failure: &Failure| failure.fault.code == Code::HiveUnreachable;
    if listener.tokens == 0 && outcome.as_ref().is_err_and(lost) {
        // What was used before may be gone long since: only using it again shows that.
        return ask::answer(ways, timings, &wish, &mut listener, interrupts).await;
    }
    outcome
}

/// Passes on how one request goes.
struct Listener<'a> {
    id: AskId,
    events: &'a mpsc::Sender<Event>,
    context: &'a Context,
    tokens: usize,
}

impl Listener<'_> {
    /// What the next news says better need not wait.
    fn mention(&self, news: News) {
        let _ = self.events.try_send(Event::Answer(self.id, news));
    }

    async fn tell(&self, news: News) -> Result<(), Failure> {
        let told = self.events.send(Event::Answer(self.id, news)).await;
        told.map_err(|_| Failure::interrupted())
    }
}

impl Audience for Listener<'_> {
    fn deadline(&self, limit: Duration) -> Deadline {
        self.context.dialer.deadline(limit)
    }

    fn absent(&mut self, hive: &HiveName, why: &Fault) {
        self.mention(News::Absent(hive.clone(), why.clone()));
    }

    fn retries(&mut self, why: &Fault, pause: Duration) {
        self.mention(News::Retries(why.clone(), pause));
    }

    fn silent(&mut self, hive: &HiveName, since: Option<Duration>) {
        self.mention(News::Silent(hive.clone(), since));
    }

    fn watches_the_queue(&self) -> bool {
        true
    }

    fn queued(&mut self, ahead: u64, _: Duration) {
        self.mention(News::Queued(ahead));
    }

    fn hub(&mut self) -> Result<HubSource, Fault> {
        Ok(self.context.find_hub()?.source)
    }

    fn pulls(&mut self, _: &HiveName, model: &ModelRef, event: &PullEvent) {
        if let Some(Fetching::Said(line) | Fetching::Passing(line)) = fetching(model, event) {
            self.mention(News::Pulls(line));
        }
    }

    fn waits(&mut self, worker: &WorkerInfo, _: Duration) {
        self.mention(News::Waits(Box::new(worker.clone())));
    }

    async fn placed(&mut self, placed: &Placed) -> Result<(), Failure> {
        self.tell(News::Placed(Box::new(placed.clone()))).await
    }

    async fn chunk(&mut self, chunk: &Chunk) -> Result<(), Failure> {
        let Some(choice) = chunk.choices.first() else { return Ok(()) };
        let piece = Piece {
            answer: choice.answer().to_owned(),
            reasoning: choice.delta.reasoning_content.clone(),
            tokens: choice.token_ids.len(),
        };
        if let Some(usage) = chunk.usage.filter(|_| self.tokens == 0) {
            self.tell(News::Prompt(usage.prompt_tokens)).await?;
        }
        self.tokens = self.tokens.saturating_add(piece.tokens);
        if piece == Piece::default() {
            return Ok(());
        }
        self.tell(News::Piece(piece)).await
    }
}
