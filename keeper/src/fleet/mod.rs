//! The live picture of all hives: what each said last. Pure: events and times come from outside.

pub mod place;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use wire::device::DeviceInfo;
use wire::event::{Event, Snapshot, Warning};
use wire::hello::Hello;
use wire::worker::{SpawnReply, WorkerInfo};
use wire::{HiveName, WorkerId};

/// Time since the keeper's start. Only differences are used.
pub type Moment = Duration;

/// One hive as it was last heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hive {
    /// Its agent.
    pub hello: Hello,
    /// Its last known revision.
    pub revision: u64,
    /// What computes there.
    pub devices: Vec<DeviceInfo>,
    /// What runs there, and what ended and is still remembered.
    pub workers: BTreeMap<WorkerId, WorkerInfo>,
    /// What runs short there.
    pub warnings: Vec<Warning>,
    /// When it last said anything.
    pub heard: Moment,
}

/// What an event did to the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Picture {
    /// It is whole.
    Whole,
    /// Something was missed: a snapshot is due.
    Torn,
}

/// All hives that have been heard. Copies are cheap: they share each hive until it says something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fleet {
    hives: BTreeMap<HiveName, Arc<Hive>>,
}

impl Fleet {
    /// All hives, by name.
    pub fn hives(&self) -> impl Iterator<Item = (&HiveName, &Hive)> {
        self.hives.iter().map(|(name, hive)| (name, &**hive))
    }

    /// One hive.
    pub fn hive(&self, name: &HiveName) -> Option<&Hive> {
        self.hives.get(name).map(|hive| &**hive)
    }

    /// One worker.
    pub fn worker(&self, hive: &HiveName, id: &WorkerId) -> Option<&WorkerInfo> {
        self.hives.get(hive)?.workers.get(id)
    }

    /// Takes one event of `hive`.
    pub fn update(&mut self, hive: &HiveName, event: Event, now: Moment) -> Picture {
        if let Event::Snapshot(snapshot) = event {
            self.hives.insert(hive.clone(), Arc::new(Hive::of(snapshot, now)));
            return Picture::Whole;
        }
        let Some(known) = self.hives.get_mut(hive) else { return Picture::Torn };
        let known = Arc::make_mut(known);
        known.heard = now;
        known.update(event)
    }

    /// Takes the reply to a spawn, which may be ahead of the events.
    pub fn adopt(&mut self, hive: &HiveName, reply: &SpawnReply) {
        if let Some(known) = self.hives.get_mut(hive)
            && reply.revision >= known.revision
        {
            let workers = &mut Arc::make_mut(known).workers;
            workers.insert(reply.worker.id.clone(), reply.worker.clone());
        }
    }
}

impl Hive {
    fn of(snapshot: Snapshot, now: Moment) -> Self {
        Self {
            hello: snapshot.hello,
            revision: snapshot.revision,
            devices: snapshot.devices,
            workers: by_id(snapshot.workers),
            warnings: snapshot.warnings,
            heard: now,
        }
    }

    fn update(&mut self, event: Event) -> Picture {
        match event {
            Event::Snapshot(_) | Event::Unknown => {}
            Event::Worker { revision, mut worker } => {
                if !self.advances_to(revision) {
                    return Picture::Torn;
                }
                // Only telemetry knows the pace.
                let known = self.workers.get(&worker.id);
                worker.millitokens_per_s = known.and_then(|known| known.millitokens_per_s);
                self.workers.insert(worker.id.clone(), worker);
            }
            Event::WorkerGone { revision, id } => {
                if !self.advances_to(revision) {
                    return Picture::Torn;
                }
                self.workers.remove(&id);
            }
            Event::Telemetry { devices, workers } => {
                self.devices = devices;
                // Figures of workers that the picture has; which ones there are, revisions tell.
                for worker in workers {
                    if let Some(known) = self.workers.get_mut(&worker.id) {
                        known.memory_bytes = worker.memory_bytes;
                        known.millitokens_per_s = worker.millitokens_per_s;
                        known.unload_in_s = worker.unload_in_s;
                        known.supervision.restart_in_ms = worker.supervision.restart_in_ms;
                    }
                }
            }
            Event::Warnings { warnings } => self.warnings = warnings,
            Event::Heartbeat { revision } => {
                if revision > self.revision {
                    return Picture::Torn;
                }
            }
        }
        Picture::Whole
    }

    /// Whether `revision` is the next one; then it becomes the known one.
    fn advances_to(&mut self, revision: u64) -> bool {
        let next = self.revision.checked_add(1) == Some(revision);
        if next {
            self.revision = revision;
        }
        next
    }
}

fn by_id(workers: Vec<WorkerInfo>) -> BTreeMap<WorkerId, WorkerInfo> {
    workers.into_iter().map(|worker| (worker.id.clone(), worker)).collect()
}

#[cfg(test)]
pub(crate) mod tests;
