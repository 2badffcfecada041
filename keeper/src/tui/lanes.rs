//! Conversations beside each other: one, or several that get the same messages. Pure.

use super::chat::{Chat, Phase, Turn};
use super::event::{AskId, News, Wanted};
use super::transcript::Transcript;
use crate::fleet::Moment;

/// A conversation and its rows.
#[derive(Debug, Default)]
pub struct Lane {
    /// What was said.
    pub chat: Chat,
    /// Its rows.
    pub transcript: Transcript,
}

impl From<Chat> for Lane {
    fn from(chat: Chat) -> Self {
        Self { chat, transcript: Transcript::default() }
    }
}

/// All lanes, from left to right: never none, and one of them is the focused one.
#[derive(Debug)]
pub struct Lanes {
    before: Vec<Lane>,
    focused: Lane,
    after: Vec<Lane>,
    /// The request that was asked last, whoever asked it.
    asked: AskId,
}

impl From<Chat> for Lanes {
    fn from(chat: Chat) -> Self {
        Self { before: Vec::new(), focused: chat.into(), after: Vec::new(), asked: 0 }
    }
}

impl Lanes {
    /// The focused one.
    pub fn focused(&self) -> &Lane {
        &self.focused
    }

    /// The focused one.
    pub fn focused_mut(&mut self) -> &mut Lane {
        &mut self.focused
    }

    /// All, from left to right.
    pub fn iter(&self) -> impl Iterator<Item = &Lane> {
        self.before.iter().chain([&self.focused]).chain(&self.after)
    }

    /// All, from left to right.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Lane> {
        self.before.iter_mut().chain([&mut self.focused]).chain(&mut self.after)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.before.len() + 1 + self.after.len()
    }

    /// An id for a request that no other one of this program has.
    pub fn new_id(&mut self) -> AskId {
        self.asked += 1;
        self.asked
    }

    /// The turn of a request, unless it was forgotten.
    pub fn turn(&self, id: AskId) -> Option<&Turn> {
        self.iter().find_map(|lane| lane.chat.turn(id))
    }

    /// Takes news of a request, in the lane that asked.
    pub fn take(&mut self, id: AskId, news: News, now: Moment) {
        if let Some(lane) = self.iter_mut().find(|lane| lane.chat.turn(id).is_some()) {
            lane.chat.take(id, news, now);
        }
    }

    /// Sends a question to all; what shall be asked.
    pub fn ask(&mut self, question: &str, now: Moment) -> Vec<Wanted> {
        let ids: Vec<AskId> = (0..self.count()).map(|_| self.new_id()).collect();
        let mut wanted = Vec::new();
        for (lane, id) in self.iter_mut().zip(ids) {
            wanted.extend(lane.chat.ask(id, question.to_owned(), now));
            lane.transcript.scroll_to_end();
        }
        wanted
    }

    /// Whether an answer goes on in any of them.
    pub fn run(&self) -> bool {
        self.iter().any(|lane| lane.chat.running().is_some())
    }

    /// Whether one goes on that the person has not cancelled.
    pub fn can_cancel(&self) -> bool {
        let mut running = self.iter().filter_map(|lane| lane.chat.running());
        running.any(|turn| turn.phase != Phase::Cancelling)
    }

    /// Ends all answers that go on; which requests those are.
    pub fn cancel(&mut self) -> Vec<AskId> {
        self.iter_mut().filter_map(|lane| lane.chat.cancel()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::chat::Partner;
    use crate::tui::event::Piece;
    use wire::ModelRef;

    #[test]
    fn an_answer_goes_to_the_lane_that_asked_and_ids_are_unique_over_all() {
        let chat = || Chat::with(Some(Partner { model: ModelRef::Demo, hive: None }));
        let mut lanes = Lanes::from(chat());
        lanes.before.push(chat().into());
        lanes.after.push(chat().into());
        let asked = lanes.ask("what", Moment::ZERO);
        assert_eq!(asked.iter().map(|wanted| wanted.id).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((lanes.new_id(), lanes.count()), (4, 3));
        let piece = Piece { answer: "that".to_owned(), ..Piece::default() };
        lanes.take(2, News::Piece(piece), Moment::ZERO);
        let answers: Vec<&str> =
            lanes.iter().map(|lane| lane.chat.turns[0].answer.as_str()).collect();
        assert_eq!(answers, ["", "that", ""]);
        assert_eq!((lanes.cancel(), lanes.run(), lanes.can_cancel()), (vec![1, 2, 3], true, false));
    }
}
