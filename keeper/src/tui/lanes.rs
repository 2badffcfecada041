//! Conversations beside each other: one, or several that get the same messages. Pure.

use super::chat::{Chat, Partner, Phase, Turn};
use super::event::{AskId, News, Wanted};
use super::transcript::Transcript;
use crate::fleet::Moment;

/// Conversations that can be compared: fewer are none, and more cannot be read beside each other.
pub const COMPARED: std::ops::RangeInclusive<usize> = 2..=4;

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
    /// The conversation that was on the screen before some are compared.
    aside: Option<Lane>,
    /// The request that was asked last, whoever asked it.
    asked: AskId,
}

impl From<Chat> for Lanes {
    fn from(chat: Chat) -> Self {
        let (before, after) = (Vec::new(), Vec::new());
        Self { before, focused: chat.into(), after, aside: None, asked: 0 }
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

    /// Tokens a second that come to this screen; none when none come.
    pub fn rate(&self) -> Option<f64> {
        let running = self.iter().filter_map(|lane| lane.chat.running());
        running.filter_map(Turn::rate).reduce(|sum, rate| sum + rate)
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

    /// Which one is focused, from the left.
    pub fn at(&self) -> usize {
        self.before.len()
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

    /// Whether conversations are compared.
    pub fn is_comparing(&self) -> bool {
        self.count() > 1
    }

    /// Begins to compare: a lane for each partner, in which nothing was said. What was on the
    /// screen stands aside; which requests nobody waits for any more.
    pub fn compare(&mut self, partners: Vec<Partner>) -> Vec<AskId> {
        let cancelled = self.cancel();
        let reasoning = self.focused.chat.reasoning;
        let mut lanes = partners.into_iter().map(|partner| {
            let mut chat = Chat::with(Some(partner));
            chat.reasoning = reasoning;
            Lane::from(chat)
        });
        let Some(first) = lanes.next() else { return cancelled };
        let was_comparing = self.is_comparing();
        self.before.clear();
        self.after = lanes.collect();
        let old = std::mem::replace(&mut self.focused, first);
        if !was_comparing {
            self.aside = Some(old);
        }
        cancelled
    }

    /// Goes on with the focused lane alone; which requests nobody waits for any more.
    pub fn keep(&mut self) -> Vec<AskId> {
        self.aside = None;
        let others = self.before.iter_mut().chain(&mut self.after);
        let cancelled = others.filter_map(|lane| lane.chat.cancel()).collect();
        self.before.clear();
        self.after.clear();
        cancelled
    }

    /// Ends comparing, and takes back what stood aside; which requests nobody waits for any more.
    pub fn take_back(&mut self) -> Vec<AskId> {
        let Some(aside) = self.aside.take() else { return Vec::new() };
        let cancelled = self.cancel();
        self.before.clear();
        self.after.clear();
        self.focused = aside;
        cancelled
    }

    /// Focuses the lane on the left or on the right; the last one's neighbour is the first.
    pub fn go(&mut self, right: bool) {
        let at = self.at();
        let last = self.count() - 1;
        let target = match (right, at) {
            (true, at) if at == last => 0,
            (true, at) => at + 1,
            (false, at) => at.checked_sub(1).unwrap_or(last),
        };
        self.focus(target);
    }

    /// Focuses a lane by its number from the left; nothing where there is none.
    pub fn focus(&mut self, at: usize) {
        while self.at() < at && !self.after.is_empty() {
            let next = self.after.remove(0);
            self.before.push(std::mem::replace(&mut self.focused, next));
        }
        while self.at() > at {
            let Some(next) = self.before.pop() else { return };
            self.after.insert(0, std::mem::replace(&mut self.focused, next));
        }
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

    fn comparing(count: usize) -> Lanes {
        let partner = Partner { model: ModelRef::Demo, hive: None };
        let mut lanes = Lanes::from(Chat::with(None));
        assert!(lanes.compare(vec![partner; count]).is_empty());
        lanes
    }

    #[test]
    fn an_answer_goes_to_the_lane_that_asked_and_ids_are_unique_over_all() {
        let mut lanes = comparing(3);
        lanes.go(true);
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

    #[test]
    fn the_neighbours_of_a_lane_are_those_on_the_screen() {
        let mut lanes = comparing(4);
        let went: Vec<usize> = [true, true, true, true, false, false]
            .into_iter()
            .map(|right| {
                lanes.go(right);
                lanes.at()
            })
            .collect();
        assert_eq!(went, [1, 2, 3, 0, 3, 2]);
        lanes.focus(9);
        assert_eq!((lanes.at(), lanes.count()), (3, 4));
    }

    #[test]
    fn who_goes_on_with_one_lane_cancels_the_others_and_who_goes_back_cancels_all() {
        let mut lanes = comparing(3);
        assert_eq!(lanes.ask("what", Moment::ZERO).len(), 3);
        lanes.go(true);
        assert_eq!(
            (lanes.keep(), lanes.count(), lanes.focused().chat.turns[0].id),
            (vec![1, 3], 1, 2)
        );
        let mut lanes = comparing(2);
        assert_eq!(lanes.ask("what", Moment::ZERO).len(), 2);
        assert_eq!((lanes.take_back(), lanes.count()), (vec![1, 2], 1));
        assert!(lanes.focused().chat.partner.is_none(), "the conversation of before is back");
    }
}
