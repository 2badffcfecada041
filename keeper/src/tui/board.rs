//! What is known of all hives, as one value that replaces the one before. Pure.

use std::collections::BTreeMap;

use wire::event::Event;
use wire::worker::WorkerInfo;
use wire::{Device, HiveName, WorkerId};

use crate::fleet::{Fleet, Hive, Moment};
use crate::link::watch::{News, Standing};

use super::trace::{Trace, Traces};

/// How the keeper stands with a hive, and since when.
#[derive(Debug, Clone, PartialEq)]
pub struct Stand {
    /// How.
    pub standing: Standing,
    /// Since when.
    pub since: Moment,
    /// What is being done there to bring it up, as one clean line.
    pub step: Option<String>,
}

/// All hives that take part. A reader that is slow misses some of these values and never waits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Board {
    stands: BTreeMap<HiveName, Stand>,
    fleet: Fleet,
    lately: BTreeMap<HiveName, Lately>,
}

/// What is remembered of a hive's figures.
#[derive(Debug, Clone, Default, PartialEq)]
struct Lately {
    traces: Traces,
    /// When it last told them.
    told: Moment,
}

impl Board {
    /// Hives of which nothing is known yet.
    pub fn new(hives: impl IntoIterator<Item = HiveName>) -> Self {
        let stand = Stand { standing: Standing::Connecting, since: Moment::ZERO, step: None };
        let stands = hives.into_iter().map(|hive| (hive, stand.clone())).collect();
        Self { stands, ..Self::default() }
    }

    /// Takes what is new of a hive.
    pub fn take(&mut self, hive: &HiveName, news: News, now: Moment) {
        match news {
            News::Standing(standing) => {
                let stand = Stand { standing, since: now, step: None };
                match self.stands.get_mut(hive) {
                    // Another attempt of the same kind does not begin a new time.
                    Some(old) if same_kind(&old.standing, &stand.standing) => {
                        old.standing = stand.standing;
                        old.step = None;
                    }
                    _ => {
                        self.stands.insert(hive.clone(), stand);
                    }
                }
            }
            News::Event(event) => {
                // Gaps are mended where the events come from.
                let has_figures = matches!(*event, Event::Snapshot(_) | Event::Telemetry { .. });
                let _whole = self.fleet.update(hive, *event, now);
                if let Some(known) = self.fleet.hive(hive).filter(|_| has_figures) {
                    let lately = self.lately.entry(hive.clone()).or_default();
                    lately.traces.take(&known.devices, now);
                    lately.told = now;
                }
            }
        }
    }

    /// Notes what is being done to bring a hive up.
    pub fn step(&mut self, hive: &HiveName, words: String) {
        if let Some(stand) = self.stands.get_mut(hive) {
            stand.step = Some(words);
        }
    }

    /// Nothing is being done there any more.
    pub fn no_step(&mut self, hive: &HiveName) {
        if let Some(stand) = self.stands.get_mut(hive) {
            stand.step = None;
        }
    }

    /// Has these hives from now on: of new ones nothing is known yet, others are forgotten.
    pub fn keep(&mut self, hives: &[HiveName], now: Moment) {
        self.stands.retain(|hive, _| hives.contains(hive));
        for hive in hives {
            self.stands.entry(hive.clone()).or_insert(Stand {
                standing: Standing::Connecting,
                since: now,
                step: None,
            });
        }
    }

    /// All hives by name.
    pub fn hives(&self) -> impl ExactSizeIterator<Item = (&HiveName, &Stand)> {
        self.stands.iter()
    }

    /// How the keeper stands with one hive.
    pub fn stand(&self, hive: &HiveName) -> Option<&Stand> {
        self.stands.get(hive)
    }

    /// Whether its events come.
    pub fn is_online(&self, hive: &HiveName) -> bool {
        self.stands.get(hive).is_some_and(|stand| stand.standing == Standing::Online)
    }

    /// What a hive said last; none while it is not there: its old words are not its state.
    pub fn picture(&self, hive: &HiveName) -> Option<&Hive> {
        self.fleet.hive(hive).filter(|_| self.is_online(hive))
    }

    /// What a device did and held lately.
    pub fn trace(&self, hive: &HiveName, device: Device) -> Option<&Trace> {
        self.lately.get(hive)?.traces.of(device)
    }

    /// For how long the figures of a hive have not been told anew, at a moment.
    pub fn age(&self, hive: &HiveName, now: Moment) -> Moment {
        self.lately.get(hive).map_or(Moment::ZERO, |lately| now.saturating_sub(lately.told))
    }

    /// The workers of all hives that are there, those that ended and are remembered included.
    pub fn workers(&self) -> impl Iterator<Item = (&HiveName, &WorkerInfo)> {
        let online = self.fleet.hives().filter(|(name, _)| self.is_online(name));
        online.flat_map(|(name, hive)| hive.workers.values().map(move |worker| (name, worker)))
    }

    /// One worker of a hive that is there.
    pub fn worker(&self, hive: &HiveName, id: &WorkerId) -> Option<&WorkerInfo> {
        self.picture(hive)?.workers.get(id)
    }
}

fn same_kind(one: &Standing, other: &Standing) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::tests::{snapshot, worker};
    use std::time::Duration;
    use wire::worker::WorkerState;
    use wire::{Code, Fault};

    #[test]
    fn a_hive_that_is_lost_keeps_its_time_over_attempts_and_shows_no_workers() {
        let pc: HiveName = "pc".parse().unwrap();
        let mut board = Board::new([pc.clone()]);
        let at = Duration::from_secs;
        board.take(&pc, News::Standing(Standing::Online), at(1));
        let event = snapshot(1, vec![worker("demo-1", WorkerState::Ready)]);
        board.take(&pc, News::Event(Box::new(event)), at(1));
        assert_eq!(board.workers().count(), 1);
        let why = || Fault::new(Code::HiveUnreachable, "the cable is out");
        for (second, pause) in [(5, 1), (7, 2)] {
            let standing = Standing::Unreachable { why: why(), pause: at(pause) };
            board.take(&pc, News::Standing(standing), at(second));
        }
        assert_eq!(board.stand(&pc).unwrap().since, at(5));
        assert_eq!(board.workers().count(), 0);
        assert!(board.picture(&pc).is_none());
    }
}
