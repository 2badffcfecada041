//! What of a conversation is in the file, what is due to be saved, and the way back. Pure.

use std::time::Duration;

use super::chat::{Chat, Partner, Phase, Turn};
use super::event::AskId;
use super::state::State;
use crate::ask::Ending;
use crate::conversations::desk::{Job, Save};
use crate::conversations::{
    Conversation, ConversationId, End, Head, Said, Settings, TurnId, title,
};
use crate::fleet::Moment;

/// How often an answer is saved while it comes.
const WHILE_IT_COMES: Duration = Duration::from_secs(5);
/// How long nothing is tried after something could not be saved.
const AFTER_A_FAILURE: Duration = Duration::from_secs(30);

/// How things are with the file of conversations.
#[derive(Debug, Default)]
pub struct Archive {
    /// Ids of this program's conversations and turns begin here; none: nothing is saved.
    base: Option<i64>,
    /// The number that they were begun with.
    pub random: u64,
    /// Nothing is tried before.
    not_before: Moment,
    /// The list that was asked for last.
    pub listed: u64,
}

impl Archive {
    /// From now on conversations are saved, with ids from a random number on: two programs that
    /// write into one file do not take the same.
    pub fn begin(&mut self, random: u64) {
        self.random = random;
        // Room for as many requests as a program can make.
        self.base = i64::try_from(random >> 2).ok();
    }

    /// Something could not be saved `now`.
    pub fn failed(&mut self, now: Moment) {
        self.not_before = now.saturating_add(AFTER_A_FAILURE);
    }
}

/// What of a conversation is in the file.
#[derive(Debug, Default)]
pub struct Record {
    /// Which one it is, once something was said.
    pub id: Option<ConversationId>,
    /// Its title there.
    pub title: Option<String>,
    /// How it is answered.
    pub settings: Settings,
    /// Whether they changed since they were saved.
    pub changed: bool,
}

/// How much of a turn there is: bytes, and whether that is all.
type Stage = (usize, bool);

/// What of a turn is in the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Kept {
    id: Option<TurnId>,
    parent: Option<TurnId>,
    sent: Option<(Stage, Moment)>,
    stored: bool,
}

fn stage(turn: &Turn) -> Stage {
    let bytes = turn.question.len() + turn.answer.len() + turn.reasoning.len();
    (bytes, !turn.goes_on())
}

/// What shall be saved now: new questions, answers that ended, and every few seconds what came.
pub fn due(state: &mut State) -> Vec<Job> {
    if state.now < state.archive.not_before {
        return Vec::new();
    }
    let now = state.now;
    wanted(state, |turn| match turn.kept.sent {
        None => true,
        Some((sent, at)) => {
            let new = stage(turn);
            new != sent && (new.1 || now.saturating_sub(at) >= WHILE_IT_COMES)
        }
    })
}

/// What is not saved when the program is left.
pub fn rest(state: &mut State) -> Vec<Job> {
    wanted(state, |turn| turn.kept.sent.is_none_or(|(sent, _)| sent != stage(turn)))
}

fn wanted(state: &mut State, is_due: impl Fn(&Turn) -> bool) -> Vec<Job> {
    let (Some(base), now) = (state.archive.base, state.now) else { return Vec::new() };
    let chats = state.lanes.iter_mut().map(|lane| &mut lane.chat);
    chats.filter_map(|chat| save(chat, base, now, &is_due)).collect()
}

fn save(chat: &mut Chat, base: i64, now: Moment, is_due: impl Fn(&Turn) -> bool) -> Option<Job> {
    let changed = chat.record.changed && chat.record.id.is_some();
    if !changed && !chat.turns.iter().any(&is_due) {
        return None;
    }
    let of = |id: AskId| base.saturating_add(i64::try_from(id).unwrap_or(i64::MAX));
    let (mut before, mut turns) = (None, Vec::new());
    for turn in &mut chat.turns {
        let id = *turn.kept.id.get_or_insert(TurnId(of(turn.id)));
        if turn.kept.sent.is_none() {
            turn.kept.parent = before;
        }
        before = Some(id);
        if is_due(turn) {
            turn.kept.sent = Some((stage(turn), now));
            turn.kept.stored = false;
            turns.push(said(turn, id));
        }
    }
    let first = chat.turns.first()?;
    let id = *chat.record.id.get_or_insert(ConversationId(of(first.id)));
    let title = chat.record.title.get_or_insert_with(|| title(&first.question)).clone();
    chat.record.changed = false;
    let partner = chat.partner.as_ref();
    let model = partner.map_or(&first.model, |partner| &partner.model).clone();
    let hive = partner.and_then(|partner| partner.hive.clone());
    let settings = chat.record.settings.clone();
    let head = Head { id, title, model, hive, settings, last: before };
    Some(Job::Save(Box::new(Save { head, turns })))
}

fn said(turn: &Turn, id: TurnId) -> Said {
    Said {
        id,
        parent: turn.kept.parent,
        question: turn.question.clone(),
        answer: turn.answer.clone(),
        reasoning: turn.reasoning.clone(),
        model: turn.model.clone(),
        place: turn.place.clone(),
        end: match &turn.phase {
            Phase::Done(ending) => End::Done {
                finish_reason: ending.finish_reason,
                usage: ending.usage,
                timings: ending.timings,
                first_token_ms: ending
                    .first_token
                    .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            },
            Phase::Cancelled => End::Cancelled,
            Phase::Failed(fault) => End::Failed(fault.clone()),
            _ => End::Open,
        },
    }
}

impl Chat {
    /// Turns of it may have been saved.
    pub fn was_saved(&mut self, saved: &[(TurnId, usize)]) {
        for turn in &mut self.turns {
            let is_it = |(id, bytes): &(TurnId, usize)| {
                Some(*id) == turn.kept.id
                    && turn.kept.sent.is_some_and(|((sent, _), _)| sent == *bytes)
            };
            turn.kept.stored |= saved.iter().any(is_it);
        }
    }

    /// What was to be saved last was not.
    pub fn was_not_saved(&mut self) {
        self.record.changed = true;
        for kept in self.turns.iter_mut().map(|turn| &mut turn.kept) {
            if !kept.stored {
                kept.sent = kept.sent.map(|(_, at)| ((0, false), at));
            }
        }
    }

    /// Another program deleted it from the file. It goes on here, so all of it is due again.
    pub fn is_not_in_the_file(&mut self) {
        self.record.changed = true;
        for kept in self.turns.iter_mut().map(|turn| &mut turn.kept) {
            *kept = Kept { id: kept.id, ..Kept::default() };
        }
    }

    /// A conversation of the file goes on; `ids` gives each turn the id of a request.
    pub fn opened(conversation: Conversation, mut ids: impl FnMut() -> AskId, now: Moment) -> Self {
        let Conversation { head, turns, .. } = conversation;
        Self {
            partner: Some(Partner { model: head.model, hive: head.hive }),
            turns: turns.into_iter().map(|said| turn(said, ids(), now)).collect(),
            reasoning: false,
            chosen: None,
            record: Record {
                id: Some(head.id),
                title: Some(head.title),
                settings: head.settings,
                changed: false,
            },
        }
    }
}

fn turn(said: Said, id: AskId, now: Moment) -> Turn {
    let Said { id: kept, parent, question, answer, reasoning, model, place, end } = said;
    let mut tokens = 0;
    let phase = match end {
        End::Open => Phase::Left,
        End::Cancelled => Phase::Cancelled,
        End::Failed(fault) => Phase::Failed(fault),
        End::Done { finish_reason, usage, timings, first_token_ms } => {
            tokens = usize::try_from(usage.completion_tokens).unwrap_or(0);
            let first_token = first_token_ms.map(Duration::from_millis);
            Phase::Done(Ending { finish_reason, usage, timings, first_token })
        }
    };
    let tokens_came = None;
    let kept = Kept { id: Some(kept), parent, sent: None, stored: true };
    let mut turn = Turn {
        id,
        question,
        model,
        answer,
        reasoning,
        place,
        worker: None,
        phase,
        asked: now,
        tokens_came,
        prompt_tokens: None,
        tokens,
        kept,
    };
    turn.kept.sent = Some((stage(&turn), now));
    turn
}
