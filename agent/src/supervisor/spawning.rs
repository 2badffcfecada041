//! Letting a worker in: one that is there, or a new one that fits.

use wire::device::Device;
use wire::worker::{SpawnReply, WorkerSpec};
use wire::{Code, Fault, ModelRef, WorkerId, layout, limits};

use super::effect::{Answer, Effect, Start};
use super::input::{Moment, SpawnAsk};
use super::worker::{Life, Worker};
use super::{FIRST_REQUEST_GRACE, Supervisor};
use crate::admission::{self, Memory};

/// Sequences that a worker of this build decodes at once.
pub const SLOTS: u32 = 1;
/// Ids end in this many hexadecimal digits.
const ID_DIGITS: usize = 6;

impl Supervisor {
    pub(super) fn spawn(&mut self, ask: SpawnAsk, now: Moment, out: &mut Vec<Effect>) -> Answer {
        match self.try_spawn(ask, now, out) {
            Ok(reply) => Answer::Spawned(Box::new(reply)),
            Err(fault) => Answer::Refused(Box::new(fault)),
        }
    }

    fn try_spawn(
        &mut self,
        ask: SpawnAsk,
        now: Moment,
        out: &mut Vec<Effect>,
    ) -> Result<SpawnReply, Fault> {
        if self.down {
            return Err(Self::shutting_down());
        }
        let device = admission::device(ask.device)?;
        if ask.reuse
            && let Some(id) = self.find_fitting(&ask, device)
        {
            return self.reuse(&id, ask.keep_alive_s, now, out);
        }
        self.breakers.check(&ask.model, device)?;
        self.start(ask, device, now, out)
    }

    /// A worker that will do: one that serves before one that loads, that before one that waits
    /// for another start, the least busy first.
    fn find_fitting(&self, ask: &SpawnAsk, device: Device) -> Option<WorkerId> {
        let fits = |worker: &&Worker| {
            worker.is_promising()
                && worker.spec.model == ask.model
                && worker.spec.device == device
                && ask.ctx_size.is_none_or(|ctx| ctx == worker.spec.ctx_size)
        };
        let effort = |worker: &&Worker| {
            let comes = match worker.life {
                Life::Serving => 0,
                Life::Restarting { .. } => 2,
                _ => 1,
            };
            (comes, worker.queue.occupied() + worker.queue.queued())
        };
        self.workers.values().filter(fits).min_by_key(effort).map(|worker| worker.id.clone())
    }

    fn reuse(
        &mut self,
        id: &WorkerId,
        keep_alive_s: Option<i64>,
        now: Moment,
        out: &mut Vec<Effect>,
    ) -> Result<SpawnReply, Fault> {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.promised_until = now + FIRST_REQUEST_GRACE;
            worker.spec.keep_alive_s = keep_alive_s.unwrap_or(worker.spec.keep_alive_s);
        }
        self.spawn_reply(id, true, now, out)
    }

    fn start(
        &mut self,
        ask: SpawnAsk,
        device: Device,
        now: Moment,
        out: &mut Vec<Effect>,
    ) -> Result<SpawnReply, Fault> {
        self.check_room()?;
        if let Some(obstacle) = ask.obstacle {
            return Err(obstacle);
        }
        let memory = self.memory(ask.available_bytes, &ask.model);
        let memory = Memory { overrun_bytes: ask.overrun_bytes, ..memory };
        let admitted = admission::decide(&ask.shape, ask.ctx_size, SLOTS, memory)?;
        let id = self.free_id(&ask.model, ask.seed)?;
        let spec = WorkerSpec {
            model: ask.model,
            device,
            ctx_size: admitted.ctx_size,
            slots: SLOTS,
            keep_alive_s: ask.keep_alive_s.unwrap_or(self.settings.keep_alive_s),
        };
        let start = Start {
            id: id.clone(),
            spec,
            model_ctx: ask.shape.context,
            need_bytes: admitted.need_bytes,
            path: ask.path,
            restarts: 0,
            attempts: 0,
            last_end: None,
        };
        self.workers.insert(id.clone(), Worker::new(start.clone(), now));
        let reply = self.spawn_reply(&id, false, now, out);
        out.push(Effect::Start(start));
        reply
    }

    /// Refuses one worker more than a hive may have.
    pub(super) fn check_room(&self) -> Result<(), Fault> {
        if self.workers.values().filter(|worker| worker.is_kept()).count() < limits::MAX_WORKERS {
            return Ok(());
        }
        let message = format!("this hive already runs {} workers", limits::MAX_WORKERS);
        Err(Fault::new(Code::QueueFull, message)
            .hint("rbee ps  # then `rbee worker stop ID` ends one"))
    }

    /// The host's memory for a decision about `model`, when the system has `available_bytes`.
    pub(super) fn memory(&self, available_bytes: u64, model: &ModelRef) -> Memory {
        let promised = self.workers.values().map(Worker::reserved_bytes);
        Memory {
            available_bytes,
            promised_bytes: promised.fold(0, u64::saturating_add),
            reserve_bytes: self.settings.reserve_for(model),
            overrun_bytes: 0,
        }
    }

    /// The change is published first, so that the reply's revision includes it.
    pub(super) fn spawn_reply(
        &mut self,
        id: &WorkerId,
        reused: bool,
        now: Moment,
        out: &mut Vec<Effect>,
    ) -> Result<SpawnReply, Fault> {
        self.publish(id, now, out);
        let worker = self.workers.get(id).ok_or_else(|| Self::no_such_worker(id))?;
        Ok(SpawnReply { worker: worker.info(now), reused, revision: self.revision })
    }

    fn free_id(&self, model: &ModelRef, seed: u32) -> Result<WorkerId, Fault> {
        let slug = slug(model);
        let modulus = 1u32 << (4 * ID_DIGITS);
        (0..=u32::try_from(limits::MAX_WORKERS + limits::MAX_FINISHED_WORKERS).unwrap_or(u32::MAX))
            .filter_map(|n| {
                let number = seed.wrapping_add(n) % modulus;
                format!("{slug}-{number:0ID_DIGITS$x}").parse::<WorkerId>().ok()
            })
            .find(|id| !self.workers.contains_key(id))
            .ok_or_else(|| Fault::new(Code::Internal, "no worker id is free"))
    }
}

/// The readable part of a worker's id: what a person calls the model, in `[a-z0-9-]`.
fn slug(model: &ModelRef) -> String {
    let name = match model {
        ModelRef::Demo => "demo",
        ModelRef::File(path) => path.rsplit('/').next().unwrap_or_default(),
        ModelRef::Hub { repo, .. } => repo.rsplit('/').next().unwrap_or_default(),
    };
    let name = name.strip_suffix(".gguf").unwrap_or(name);
    let mut slug = String::new();
    for c in name.chars().map(|c| c.to_ascii_lowercase()) {
        if slug.len() + 1 + ID_DIGITS >= layout::MAX_GENERATED_ID_BYTES {
            break;
        }
        let c = if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
        if !(c == '-' && (slug.is_empty() || slug.ends_with('-'))) {
            slug.push(c);
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "model".to_owned() } else { slug.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_begins_with_what_a_person_calls_the_model() {
        let file = |path: &str| slug(&ModelRef::File(path.to_owned()));
        assert_eq!(slug(&ModelRef::Demo), "demo");
        assert_eq!(file("/m/Qwen3-0.6B_Q8_0.gguf"), "qwen3-0-6b-q8-0");
        assert_eq!(file("/m/..gguf"), "model");
    }

    proptest! {
        #[test]
        fn every_slug_makes_an_id_within_the_planned_length(name in "[ -~]{0,60}") {
            let id = format!("{}-0123ab", slug(&ModelRef::File(format!("/{name}"))));
            prop_assert!(id.len() <= layout::MAX_GENERATED_ID_BYTES, "{id}");
            prop_assert!(id.parse::<WorkerId>().is_ok(), "{id}");
        }
    }
}
