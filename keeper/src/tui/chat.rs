//! A conversation: what was said, and what is being said. Pure.

use std::time::Duration;

use wire::generate::{ChatRole, FinishReason, Message};
use wire::worker::WorkerInfo;
use wire::{Fault, HiveName, ModelRef, WorkerId};

use super::archive::{Kept, Record};
use super::event::{AskId, News, Piece, Wanted};
use crate::ask::Ending;
use crate::conversations::Place;
use crate::fleet::Moment;

/// With whom the person talks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partner {
    /// Which model.
    pub model: ModelRef,
    /// Only there, when the person chose a worker.
    pub hive: Option<HiveName>,
}

/// A conversation.
#[derive(Debug, Default)]
pub struct Chat {
    /// With whom.
    pub partner: Option<Partner>,
    /// What was said, oldest first. The last may go on.
    pub turns: Vec<Turn>,
    /// Whether reasoning is shown.
    pub reasoning: bool,
    /// What of it is in the file of conversations.
    pub record: Record,
    /// The turn that copying and its like mean; none: the last one.
    pub chosen: Option<AskId>,
}

/// A question and its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Which request.
    pub id: AskId,
    /// The question.
    pub question: String,
    /// Whom it went to.
    pub model: ModelRef,
    /// The answer as far as it came.
    pub answer: String,
    /// The reasoning as far as it came.
    pub reasoning: String,
    /// Where it was answered.
    pub place: Option<Place>,
    /// The worker there.
    pub worker: Option<WorkerId>,
    /// How it goes.
    pub phase: Phase,
    /// When it was asked.
    pub asked: Moment,
    /// When its first and its last token came.
    pub tokens_came: Option<(Moment, Moment)>,
    /// Tokens of its prompt, once the worker said how many.
    pub prompt_tokens: Option<u32>,
    /// Tokens that came.
    pub tokens: usize,
    /// What of it is in the file of conversations.
    pub kept: Kept,
}

/// How an answer goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// A worker is looked for.
    Placing,
    /// Its worker is not ready yet.
    Waiting(Box<WorkerInfo>),
    /// Its hive fetches the model: how far that is, in words.
    Pulling(String),
    /// All slots are taken.
    Retrying(Duration),
    /// So many are served before it.
    Queued(u64),
    /// It comes.
    Coming,
    /// The person cancelled it; its hive has not said that it ended.
    Cancelling,
    /// It is complete.
    Done(Ending),
    /// The person ended it.
    Cancelled,
    /// Something else did.
    Failed(Fault),
    /// The program was left before it was complete, the last time.
    Left,
}

impl Turn {
    /// Whether more of it may come.
    pub fn goes_on(&self) -> bool {
        let over = matches!(self.phase, Phase::Done(_) | Phase::Cancelled | Phase::Failed(_));
        !over && self.phase != Phase::Left
    }

    /// From the question to the first token.
    pub fn first_token(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Done(ending) => ending.first_token,
            _ => self.tokens_came.map(|(first, _)| first.saturating_sub(self.asked)),
        }
    }

    /// Tokens a second: the worker's own figure when it is over, else as they come here.
    #[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
    pub fn rate(&self) -> Option<f64> {
        // The first token comes out of the prefill; decoding makes the others.
        let (tokens, seconds) = if let Phase::Done(ending) = &self.phase {
            let tokens = ending.usage.completion_tokens.saturating_sub(1);
            (f64::from(tokens), ending.timings.decode_ms / 1000.0)
        } else {
            let (first, last) = self.tokens_came?;
            (self.tokens.saturating_sub(1) as f64, last.saturating_sub(first).as_secs_f64())
        };
        (tokens > 0.0 && seconds > 0.0).then(|| tokens / seconds)
    }

    /// Tokens of the answer: the worker's own figure when it is over, else those that came here.
    pub fn count(&self) -> usize {
        match &self.phase {
            Phase::Done(ending) => {
                usize::try_from(ending.usage.completion_tokens).unwrap_or(usize::MAX)
            }
            _ => self.tokens,
        }
    }

    /// Tokens of the context that are used and that there are, as far as it is known: the prompt
    /// and what came of the answer, in the end as the worker counted.
    pub fn context(&self) -> Option<(u32, u32)> {
        let used = if let Phase::Done(ending) = &self.phase {
            ending.usage.total_tokens
        } else {
            let came = u32::try_from(self.tokens).unwrap_or(u32::MAX);
            self.prompt_tokens?.saturating_add(came)
        };
        let size = self.place.as_ref()?.ctx_size;
        (used > 0).then_some((used, size))
    }

    /// Whether the context's end cut it short.
    pub fn is_cut(&self) -> bool {
        matches!(&self.phase, Phase::Done(end) if end.finish_reason == Some(FinishReason::Length))
    }

    /// Whether it is part of the conversation: one that was stopped is, as far as it came.
    fn counts(&self) -> bool {
        matches!(self.phase, Phase::Done(_)) || !self.answer.is_empty()
    }
}

impl Chat {
    /// A conversation with somebody, in which nothing was said.
    pub fn with(partner: Option<Partner>) -> Self {
        Self { partner, ..Self::default() }
    }

    /// The turn that goes on.
    pub fn running(&self) -> Option<&Turn> {
        self.turns.last().filter(|turn| turn.goes_on())
    }

    /// The turn that copying and its like mean: the one that the person chose, else the last one.
    pub fn chosen_turn(&self) -> Option<&Turn> {
        self.chosen.and_then(|id| self.turn(id)).or(self.turns.last())
    }

    /// Where that turn is among all.
    pub fn chosen_at(&self) -> Option<usize> {
        let id = self.chosen_turn()?.id;
        self.turns.iter().position(|turn| turn.id == id)
    }

    /// Whether the person chose that turn.
    pub fn is_chosen(&self, id: AskId) -> bool {
        self.chosen == Some(id)
    }

    /// Chooses the turn before the one that is meant, or the one after it.
    pub fn choose_turn(&mut self, older: bool) {
        let Some(at) = self.chosen_at() else { return };
        let was_chosen = self.turns.get(at).is_some_and(|turn| self.chosen == Some(turn.id));
        let target = match (older, was_chosen) {
            // The last one is meant before it is chosen.
            (_, false) => at,
            (true, true) => at.saturating_sub(1),
            (false, true) => (at + 1).min(self.turns.len() - 1),
        };
        self.chosen = self.turns.get(target).map(|turn| turn.id);
    }

    /// The turn of a request.
    pub fn turn(&self, id: AskId) -> Option<&Turn> {
        self.turns.iter().rev().find(|turn| turn.id == id)
    }

    /// Goes on with a question, as the request `id`; what shall be asked, or nothing while an
    /// answer comes, where there is nothing to ask or nobody to ask it.
    pub fn ask(&mut self, id: AskId, question: String, now: Moment) -> Option<Wanted> {
        if self.running().is_some() || question.trim().is_empty() {
            return None;
        }
        let partner = self.partner.clone()?;
        let settings = self.record.settings.clone();
        self.chosen = None;
        let mut messages: Vec<Message> = Vec::new();
        messages.extend(settings.system.as_ref().map(|text| Message::new(ChatRole::System, text)));
        for turn in self.turns.iter().filter(|turn| turn.counts()) {
            messages.push(Message::new(ChatRole::User, &turn.question));
            messages.push(Message::new(ChatRole::Assistant, &turn.answer));
        }
        messages.push(Message::new(ChatRole::User, &question));
        self.turns.push(Turn {
            id,
            question,
            model: partner.model.clone(),
            answer: String::new(),
            reasoning: String::new(),
            place: None,
            worker: None,
            phase: Phase::Placing,
            asked: now,
            tokens_came: None,
            prompt_tokens: None,
            tokens: 0,
            kept: Kept::default(),
        });
        Some(Wanted { id, model: partner.model, hive: partner.hive, messages, settings })
    }

    /// Takes news of a request; one that is not of this conversation any more changes nothing.
    pub fn take(&mut self, id: AskId, news: News, now: Moment) {
        let Some(turn) = self.turns.iter_mut().rev().find(|turn| turn.id == id) else { return };
        let cancelling = turn.phase == Phase::Cancelling;
        match news {
            News::Ended(outcome) => {
                turn.phase = match outcome {
                    Ok(ending) => Phase::Done(ending),
                    Err(None) => Phase::Cancelled,
                    Err(Some(fault)) => Phase::Failed(fault),
                };
            }
            News::Prompt(tokens) => turn.prompt_tokens = Some(tokens),
            News::Piece(piece) => turn.add(&piece, now),
            News::Placed(placed) => {
                let spec = &placed.worker.spec;
                let (device, ctx_size) = (spec.device, spec.ctx_size);
                turn.place = Some(Place { hive: placed.hive, device, ctx_size });
                turn.worker = Some(placed.worker.id);
                if !cancelling {
                    turn.phase = Phase::Coming;
                }
            }
            News::Waits(worker) if !cancelling => turn.phase = Phase::Waiting(worker),
            News::Pulls(line) if !cancelling => turn.phase = Phase::Pulling(line),
            News::Retries(_, pause) if !cancelling => turn.phase = Phase::Retrying(pause),
            News::Queued(ahead) if turn.phase == Phase::Coming || turn.is_queued() => {
                turn.phase = Phase::Queued(ahead);
            }
            News::Waits(_)
            | News::Pulls(_)
            | News::Retries(..)
            | News::Absent(..)
            | News::Queued(_)
            | News::Silent(..) => {}
        }
    }

    /// Ends the answer that goes on; which request it is.
    pub fn cancel(&mut self) -> Option<AskId> {
        let turn = self.turns.last_mut().filter(|turn| turn.goes_on())?;
        turn.phase = Phase::Cancelling;
        Some(turn.id)
    }

    /// Begins anew; what was said stays in the file of conversations.
    pub fn forget(&mut self) {
        self.turns.clear();
        self.record = Record::default();
    }
}

impl Turn {
    fn is_queued(&self) -> bool {
        matches!(self.phase, Phase::Queued(_))
    }

    fn add(&mut self, piece: &Piece, now: Moment) {
        if self.is_queued() {
            self.phase = Phase::Coming;
        }
        self.answer.push_str(&piece.answer);
        self.reasoning.push_str(&piece.reasoning);
        if piece.tokens > 0 {
            self.tokens += piece.tokens;
            let first = self.tokens_came.map_or(now, |(first, _)| first);
            self.tokens_came = Some((first, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Code;

    fn chat() -> Chat {
        let partner = Partner { model: ModelRef::Demo, hive: None };
        Chat::with(Some(partner))
    }

    fn piece(text: &str) -> News {
        News::Piece(Piece { answer: text.to_owned(), reasoning: String::new(), tokens: 1 })
    }

    fn at(ms: u64) -> Moment {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_cancelled_answer_is_kept_as_far_as_it_came_and_goes_on_in_the_conversation() {
        let mut chat = chat();
        let wanted = chat.ask(1, "tell".to_owned(), at(0)).unwrap();
        chat.take(wanted.id, piece("once upon"), at(10));
        assert_eq!(chat.cancel(), Some(wanted.id));
        chat.take(wanted.id, piece(" a"), at(11));
        chat.take(wanted.id, News::Ended(Err(None)), at(12));
        assert_eq!(chat.cancel(), None);
        let said: Vec<String> = chat
            .ask(2, "more".to_owned(), at(20))
            .unwrap()
            .messages
            .into_iter()
            .map(|message| message.content)
            .collect();
        assert_eq!(said, ["tell", "once upon a", "more"]);
    }

    #[test]
    fn a_question_that_failed_without_an_answer_is_not_asked_again_with_the_next() {
        let mut chat = chat();
        let wanted = chat.ask(1, "lost".to_owned(), at(0)).unwrap();
        assert!(chat.ask(2, "more".to_owned(), at(1)).is_none(), "one at a time");
        let fault = Fault::new(Code::HiveUnreachable, "gone");
        chat.take(wanted.id, News::Ended(Err(Some(fault))), at(2));
        assert_eq!(chat.ask(2, "again".to_owned(), at(3)).unwrap().messages.len(), 1);
    }

    #[test]
    fn tokens_a_second_are_those_after_the_first() {
        let mut chat = chat();
        let id = chat.ask(1, "x".to_owned(), at(0)).unwrap().id;
        for ms in [100, 200, 300] {
            chat.take(id, piece("a"), at(ms));
        }
        let turn = chat.running().unwrap();
        assert_eq!(turn.first_token(), Some(at(100)));
        assert!((turn.rate().unwrap() - 10.0).abs() < 1e-9);
        assert_eq!(turn.context(), None, "nobody said how long the prompt is");
        let (hive, device) = ("pc".parse().unwrap(), wire::Device::CPU);
        chat.turns[0].place = Some(Place { hive, device, ctx_size: 2048 });
        chat.take(id, News::Prompt(30), at(400));
        assert_eq!(chat.running().unwrap().context(), Some((33, 2048)));
    }
}
