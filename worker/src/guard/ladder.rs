//! When a guard asks, terminates and kills its engine: a pure machine with time passed in.

use std::time::{Duration, Instant};

use wire::Timings;

/// How long the machine waits for what.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// From asking the engine to SIGTERM; absent for an engine that cannot be asked.
    pub ask: Option<Duration>,
    /// From SIGTERM to SIGKILL.
    pub term: Duration,
    /// Without a connection, until the engine is ended.
    pub orphan: Duration,
}

impl Waits {
    /// The waits of `timings` for an engine.
    pub fn new(timings: &Timings, can_be_asked: bool) -> Self {
        Self {
            ask: can_be_asked.then_some(timings.stop_ask),
            term: timings.stop_term,
            orphan: timings.orphan_timeout,
        }
    }
}

/// What the machine is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Connections came or went; this many are open now.
    Connections(usize),
    /// An agent asked for the engine's end, or the guard got a signal that asks for its own.
    StopAsked,
    /// The engine could not be asked, or refused.
    AskFailed,
    /// The time of [`Ladder::wakes_at`] has come.
    Tick,
    /// The engine has ended.
    EngineExited,
}

/// What the machine wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// `POST /rbee/v1/stop` to the engine.
    Ask,
    /// SIGTERM to the engine's process group.
    Terminate,
    /// SIGKILL to the engine's process group.
    Kill,
}

/// How the ladder had been used when the engine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// Whether anyone wanted the end.
    pub told: bool,
    /// Whether SIGKILL was needed.
    pub killed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Since when nobody is connected, if nobody is.
    Watching { alone_since: Option<Instant> },
    /// The engine was asked and has until then.
    Asking { until: Instant },
    /// The engine's group got SIGTERM and has until then.
    Terminating { until: Instant },
    /// The engine's group got SIGKILL; only the kernel can be late now.
    Killing,
    /// The engine has ended: no signal may follow.
    Ended(Ending),
}

/// The stop ladder of one engine, and the orphan timeout that may start it. Every step is taken at
/// most once and in order; nothing is sent after the engine's end.
#[derive(Debug)]
pub struct Ladder {
    waits: Waits,
    step: Step,
}

impl Ladder {
    /// Watches an engine from `now` on; nobody is connected yet.
    pub fn new(waits: Waits, now: Instant) -> Self {
        Self { waits, step: Step::Watching { alone_since: Some(now) } }
    }

    /// Takes one input and says what to do.
    pub fn on(&mut self, input: Input, now: Instant) -> Option<Effect> {
        match (self.step, input) {
            (Step::Ended(_), _) => None,
            (_, Input::EngineExited) => {
                let told = !matches!(self.step, Step::Watching { .. });
                let killed = self.step == Step::Killing;
                self.step = Step::Ended(Ending { told, killed });
                None
            }
            // Also a connection that came and went between two looks was an agent being heard.
            (Step::Watching { .. }, Input::Connections(open)) => {
                self.step = Step::Watching { alone_since: (open == 0).then_some(now) };
                None
            }
            (Step::Watching { .. }, Input::StopAsked) => Some(self.begin(now)),
            (Step::Asking { .. }, Input::AskFailed) => Some(self.terminate(now)),
            (step, Input::Tick) if self.wakes_at().is_some_and(|at| at <= now) => match step {
                Step::Watching { .. } => Some(self.begin(now)),
                Step::Asking { .. } => Some(self.terminate(now)),
                Step::Terminating { .. } => {
                    self.step = Step::Killing;
                    Some(Effect::Kill)
                }
                Step::Killing | Step::Ended(_) => None,
            },
            _ => None,
        }
    }

    /// When the next [`Input::Tick`] is due.
    pub fn wakes_at(&self) -> Option<Instant> {
        match self.step {
            Step::Watching { alone_since } => alone_since.map(|since| since + self.waits.orphan),
            Step::Asking { until } | Step::Terminating { until } => Some(until),
            Step::Killing | Step::Ended(_) => None,
        }
    }

    /// How the ladder had been used, once the engine has ended.
    pub fn ending(&self) -> Option<Ending> {
        match self.step {
            Step::Ended(ending) => Some(ending),
            _ => None,
        }
    }

    fn begin(&mut self, now: Instant) -> Effect {
        match self.waits.ask {
            Some(wait) => {
                self.step = Step::Asking { until: now + wait };
                Effect::Ask
            }
            None => self.terminate(now),
        }
    }

    fn terminate(&mut self, now: Instant) -> Effect {
        self.step = Step::Terminating { until: now + self.waits.term };
        Effect::Terminate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ASK: Duration = Duration::from_millis(50);
    const TERM: Duration = Duration::from_millis(70);
    const ORPHAN: Duration = Duration::from_millis(300);

    fn waits(can_be_asked: bool) -> Waits {
        Waits { ask: can_be_asked.then_some(ASK), term: TERM, orphan: ORPHAN }
    }

    /// Ticks `ladder` at each of its own deadlines until it has none; what it did, and when.
    fn run_out(ladder: &mut Ladder) -> Vec<(Effect, Instant)> {
        let mut done = Vec::new();
        while let Some(at) = ladder.wakes_at() {
            done.extend(ladder.on(Input::Tick, at).map(|effect| (effect, at)));
        }
        done
    }

    #[test]
    fn an_engine_that_ignores_everything_is_killed_when_both_waits_are_over() {
        let now = Instant::now();
        let mut ladder = Ladder::new(waits(true), now);
        assert_eq!(ladder.on(Input::StopAsked, now), Some(Effect::Ask));
        let rest = run_out(&mut ladder);
        assert_eq!(rest, [(Effect::Terminate, now + ASK), (Effect::Kill, now + ASK + TERM)]);
        ladder.on(Input::EngineExited, now + ASK + TERM);
        assert_eq!(ladder.ending(), Some(Ending { told: true, killed: true }));
    }

    #[test]
    fn an_engine_that_cannot_be_asked_or_refuses_gets_sigterm_at_once() {
        let now = Instant::now();
        let mut ladder = Ladder::new(waits(false), now);
        assert_eq!(ladder.on(Input::StopAsked, now), Some(Effect::Terminate));
        let mut ladder = Ladder::new(waits(true), now);
        ladder.on(Input::StopAsked, now);
        assert_eq!(ladder.on(Input::AskFailed, now), Some(Effect::Terminate));
    }

    #[test]
    fn an_orphan_is_ended_and_an_open_connection_prevents_it() {
        let now = Instant::now();
        let mut ladder = Ladder::new(waits(true), now);
        assert_eq!(ladder.wakes_at(), Some(now + ORPHAN));
        ladder.on(Input::Connections(1), now + ORPHAN / 2);
        assert_eq!(ladder.wakes_at(), None);
        let gone = now + ORPHAN * 3;
        ladder.on(Input::Connections(0), gone);
        let rest = run_out(&mut ladder);
        assert_eq!(rest.first(), Some(&(Effect::Ask, gone + ORPHAN)));
    }

    #[test]
    fn an_engine_that_ends_by_itself_was_not_told() {
        let now = Instant::now();
        let mut ladder = Ladder::new(waits(true), now);
        ladder.on(Input::EngineExited, now);
        assert_eq!(ladder.ending(), Some(Ending { told: false, killed: false }));
        assert_eq!(ladder.wakes_at(), None);
    }

    fn inputs() -> impl Strategy<Value = Vec<(Input, u64)>> {
        let input = prop_oneof![
            (0usize..3).prop_map(Input::Connections),
            Just(Input::StopAsked),
            Just(Input::AskFailed),
            Just(Input::Tick),
            Just(Input::EngineExited),
        ];
        proptest::collection::vec((input, 0u64..200), 0..40)
    }

    proptest! {
        #[test]
        fn steps_are_taken_once_in_order_and_never_after_the_end(
            events in inputs(), can_be_asked: bool,
        ) {
            let mut now = Instant::now();
            let mut ladder = Ladder::new(waits(can_be_asked), now);
            let mut last = None;
            let mut ended = false;
            for (input, pause) in events {
                now += Duration::from_millis(pause);
                let effect = ladder.on(input, now);
                prop_assert!(!(ended && effect.is_some()));
                ended |= input == Input::EngineExited;
                prop_assert_eq!(ended, ladder.ending().is_some());
                if let Some(effect) = effect {
                    let rank = effect as u8;
                    prop_assert!(last.is_none_or(|last| last < rank));
                    prop_assert!(can_be_asked || effect != Effect::Ask);
                    last = Some(rank);
                }
            }
        }

        #[test]
        fn once_it_is_told_the_kill_comes_within_both_waits(
            before in inputs(), after in inputs(), can_be_asked: bool,
        ) {
            let alive = |events: Vec<(Input, u64)>| {
                events.into_iter().filter(|(input, _)| *input != Input::EngineExited)
            };
            let mut now = Instant::now();
            let mut ladder = Ladder::new(waits(can_be_asked), now);
            let mut killed_at = None;
            for (input, pause) in alive(before) {
                now += Duration::from_millis(pause);
                if ladder.on(input, now) == Some(Effect::Kill) {
                    killed_at = Some(now);
                }
            }
            ladder.on(Input::StopAsked, now);
            let told = now;
            for (input, pause) in alive(after) {
                let next = now + Duration::from_millis(pause);
                // Whoever drives the machine is never later than its own deadline.
                while let Some(at) = ladder.wakes_at().filter(|at| *at <= next) {
                    if ladder.on(Input::Tick, at) == Some(Effect::Kill) {
                        killed_at = Some(at);
                    }
                }
                now = next;
                if ladder.on(input, now) == Some(Effect::Kill) {
                    killed_at = Some(now);
                }
            }
            if let Some((_, at)) = run_out(&mut ladder).last() {
                killed_at = Some(*at);
            }
            prop_assert!(killed_at.is_some_and(|at| at <= told + ASK + TERM));
        }

        #[test]
        fn with_someone_connected_and_nothing_asked_nothing_is_ever_done(
            counts in proptest::collection::vec((1usize..5, 0u64..10_000), 1..40),
        ) {
            let mut now = Instant::now();
            let mut ladder = Ladder::new(waits(true), now);
            for (open, pause) in counts {
                prop_assert_eq!(ladder.on(Input::Connections(open), now), None);
                now += Duration::from_millis(pause);
                prop_assert_eq!(ladder.on(Input::Tick, now), None);
            }
        }
    }
}
