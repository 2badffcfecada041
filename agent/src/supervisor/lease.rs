//! An ephemeral hive: its agent and workers end with its keepers.

use wire::settings::Lifetime;

use super::Supervisor;
use super::effect::{Answer, Effect};
use super::input::{Moment, Token};

impl Supervisor {
    /// A keeper says that it leaves. When it is the last one, an ephemeral hive ends at once. Two
    /// that leave together are both still there: then the lease ends it.
    pub(super) fn leave_hive(&mut self, token: Token, now: Moment, out: &mut Vec<Effect>) {
        out.push(Effect::Reply(token, Answer::Left));
        if self.is_ephemeral() && self.connections <= 1 {
            self.begin_down(now, out);
        }
    }

    /// Ends an ephemeral hive that no keeper has been connected to for its lease.
    pub(super) fn watch_lease(&mut self, now: Moment, out: &mut Vec<Effect>) {
        if self.connections > 0 {
            self.alone_since = now;
            return;
        }
        let alone = now.saturating_sub(self.alone_since);
        if self.is_ephemeral() && !self.down && alone >= self.timings.lease {
            self.begin_down(now, out);
        }
    }

    fn is_ephemeral(&self) -> bool {
        self.settings.lifetime == Lifetime::Ephemeral
    }
}

#[cfg(test)]
mod tests {
    use wire::Timings;
    use wire::settings::AgentSettings;

    use super::super::{Ask, Input};
    use super::*;

    struct Hive {
        supervisor: Supervisor,
        now: Moment,
    }

    impl Hive {
        fn of(lifetime: Lifetime) -> Self {
            let settings = AgentSettings { lifetime, ..AgentSettings::default() };
            let supervisor = Supervisor::new(Timings::default(), settings, 0, Moment::ZERO);
            Self { supervisor, now: Moment::ZERO }
        }

        fn feed(&mut self, input: Input) -> bool {
            self.supervisor.update(input, self.now).contains(&Effect::Exit)
        }

        /// Whether it ended in that time.
        fn pass(&mut self, seconds: u64) -> bool {
            (0..2 * seconds).any(|_| {
                self.now += Moment::from_millis(500);
                self.feed(Input::Tick)
            })
        }

        fn leave(&mut self) -> bool {
            self.feed(Input::Ask(Token(1), Ask::Leave))
        }
    }

    #[test]
    fn an_ephemeral_hive_ends_with_its_last_keeper_and_a_short_cut_does_not_end_it() {
        let mut hive = Hive::of(Lifetime::Ephemeral);
        hive.feed(Input::Connected);
        assert!(!hive.pass(600), "a keeper is there");
        hive.feed(Input::Disconnected);
        assert!(!hive.pass(29));
        hive.feed(Input::Connected);
        assert!(!hive.pass(600));
        hive.feed(Input::Disconnected);
        assert!(hive.pass(31));
    }

    #[test]
    fn a_keeper_that_says_that_it_leaves_ends_it_at_once_unless_another_is_there() {
        let mut hive = Hive::of(Lifetime::Ephemeral);
        hive.feed(Input::Connected);
        hive.feed(Input::Connected);
        assert!(!hive.leave(), "another one is there");
        hive.feed(Input::Disconnected);
        assert!(hive.leave());
    }

    #[test]
    fn a_persistent_hive_outlives_its_keepers() {
        let mut hive = Hive::of(Lifetime::Persistent);
        hive.feed(Input::Connected);
        assert!(!hive.leave());
        hive.feed(Input::Disconnected);
        assert!(!hive.pass(60));
    }

    #[test]
    fn a_machine_that_slept_gives_its_keepers_their_time() {
        let mut hive = Hive::of(Lifetime::Ephemeral);
        hive.now += Moment::from_secs(600);
        assert!(!hive.feed(Input::Tick), "they may be on their way back");
        assert!(hive.pass(31));
    }
}
