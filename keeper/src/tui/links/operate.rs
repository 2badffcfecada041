//! What can be done to hives and workers, done, and told line by line.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use wire::generate::Chunk;
use wire::pull::{HubSource, PullEvent};
use wire::worker::{StopRequest, WorkerInfo};
use wire::{Fault, HiveName, ModelRef, WorkerId};

use super::told::Told;
use super::{command, follow, models};
use crate::ask::{self, Audience, Placed};
use crate::bootstrap::Witness;
use crate::context::Context;
use crate::failure::Failure;
use crate::fleet::place::Want;
use crate::hub::Hub;
use crate::link::way::Way;
use crate::link::{self, Transport};
use crate::operations::end::{Ended, Stopped, end, end_in_time, nothing_left, sentences};
use crate::operations::{Account, add, examination, install, removal, start, why};
use crate::output::progress::how_far;
use crate::ssh::client::patience::Deadline;
use crate::tui::operation::Operation;
use crate::tui::records::Line;
use crate::tui::rows::Kind;

/// What is different for the program after an operation.
pub enum Change {
    /// The configuration was changed; a hive that was added has this way.
    Configuration(Option<Way>),
    /// An agent may have come or gone.
    Agents,
}

/// What an operation needs.
pub struct Means<'a> {
    /// The ways to all hives that take part.
    pub ways: &'a [Way],
    /// The configuration and the like.
    pub context: &'a Context,
    /// Who is told.
    pub told: Arc<Told>,
    /// Says that nobody wants it any more.
    pub given_up: &'a mut mpsc::Receiver<()>,
}

/// Does something to hives or workers; one line about what came of it.
///
/// # Errors
/// Why it could not be done.
pub async fn operate(
    operation: &Operation,
    means: &mut Means<'_>,
) -> Result<(String, Change), Fault> {
    let (context, told) = (means.context, means.told.clone());
    let line = match operation {
        Operation::Add(name, settings) => return add_hive(name, settings, means).await,
        Operation::Remove(hive, how) => {
            removal::remove(way(means, hive)?, *how, context, &*told).await?;
            let line = format!("{hive} is removed");
            return Ok((line, Change::Configuration(None)));
        }
        Operation::Reload => return Ok((String::new(), Change::Configuration(None))),
        Operation::StopWorker(hive, id) => stop_worker(way(means, hive)?, id, means).await?,
        Operation::RestartWorker(hive, id) => restart(way(means, hive)?, id, means).await?,
        Operation::Load(model, hive) => {
            let ctx_size = context.config.run.ctx_size;
            let want = Want { model: model.clone(), hive: hive.clone(), device: None, ctx_size };
            let only = hive.as_ref().map(|hive| way(means, hive)).transpose()?;
            let ways = only.map_or(means.ways, std::slice::from_ref);
            let mut audience = Hearer { context, told: &told };
            let timings = &context.config.timings;
            let placed = ask::worker(ways, timings, &want, None, &mut audience).await;
            let placed = placed.map_err(|failure| failure.fault)?;
            let how = if placed.reused { "is loaded already" } else { "is loaded" };
            format!("{} {how} on {}", placed.worker.id, placed.hive)
        }
        Operation::StartAgent(hive) => {
            let running = start::start(way(means, hive)?, context, &*told).await?;
            let how = if running.started { "started" } else { "runs already" };
            format!("the agent of {hive} {how}, process {}", running.pid)
        }
        Operation::StopAgent(hive) => {
            let ended = end(way(means, hive)?, None, context).await?;
            tell_ended(&told, std::slice::from_ref(&ended))?;
            format!("nothing of rbee runs on {hive} any more")
        }
        Operation::Install(hive) => {
            let installed = install::install(way(means, hive)?, false, context, &*told).await?;
            format!("build {} is on {hive}", installed.build)
        }
        Operation::Doctor(hive) => doctor(hive, context, &told).await?,
        Operation::Down => down(means).await?,
        Operation::Why(request) => {
            let last = || why::last(context);
            let wanted = request.clone().map_or_else(last, Ok)?;
            let absent = |hive: &HiveName, why: &Fault| told.absent(hive, why);
            let seen = why::ask(means.ways, &wanted, context, absent).await?;
            for line in why::told(&seen).lines() {
                told.say(Line::new(line, Kind::Text));
            }
            String::new()
        }
        Operation::Command(words) => command::run(words, &told, means.given_up).await?,
        Operation::Pull(model, hive) => models::pull(way(means, hive)?, model, means).await?,
        Operation::Models(hive) => models::list(way(means, hive)?, context, &told).await?,
        Operation::Forget(model, hive) => models::forget(way(means, hive)?, model, context).await?,
        Operation::HiveLog(hive) => {
            let way = way(means, hive)?.clone();
            follow::of_agent(&way, context, &told, means.given_up).await?;
            String::new()
        }
        Operation::WorkerLog(hive, id) => {
            let way = way(means, hive)?.clone();
            follow::of_worker(&way, id, context, &told, means.given_up).await?;
            String::new()
        }
    };
    Ok((line, Change::Agents))
}

fn way<'a>(means: &Means<'a>, hive: &HiveName) -> Result<&'a Way, Fault> {
    let found = means.ways.iter().find(|way| way.hive() == hive);
    found.ok_or_else(|| crate::hives::unknown(hive, &means.context.config))
}

async fn add_hive(
    name: &HiveName,
    settings: &crate::config::HiveSettings,
    means: &mut Means<'_>,
) -> Result<(String, Change), Fault> {
    let (context, told) = (means.context, means.told.clone());
    crate::hives::refuse_duplicate(&context.config, name)?;
    let mut settings = settings.clone();
    if let Some(identity) = &settings.identity {
        let path = crate::ssh::config::home(identity, &context.environment.ssh);
        settings.identity = Some(add::key_file(&path)?);
    }
    let settings = &settings;
    let witness: Arc<dyn Witness> = told.clone();
    let remote = Arc::new(context.dialer.remote(name, settings, false, witness));
    let given_up = async || {
        if means.given_up.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    };
    let found = add::add(&remote, settings, context, &*told, given_up).await?;
    for device in &found.snapshot.devices {
        let words = device.name.as_deref().unwrap_or_default();
        told.say(Line::new(&format!("  {} {words}", device.device), Kind::Text));
    }
    let change = Change::Configuration(Some(Way::Remote(remote)));
    Ok((format!("{name} is a hive now"), change))
}

async fn stop_worker(way: &Way, id: &WorkerId, means: &Means<'_>) -> Result<String, Fault> {
    let hive = way.hive();
    let client = link::connect(way, &means.context.config.timings).await?;
    let client = client.ok_or_else(|| link::no_agent(hive))?;
    let reply = client.stop(id, StopRequest::default()).await?;
    let sentences: Vec<String> =
        reply.stopped.iter().flat_map(|it| Stopped::of(hive, it).sentences()).collect();
    nothing_left(hive, &reply)?;
    Ok(sentences.join("; "))
}

async fn restart(way: &Way, id: &WorkerId, means: &Means<'_>) -> Result<String, Fault> {
    let (context, hive) = (means.context, way.hive());
    let timings = &context.config.timings;
    let client = link::connect(way, timings).await?;
    let client = client.ok_or_else(|| link::no_agent(hive))?;
    let reply = client.restart(id, StopRequest::default()).await?;
    let mut audience = Hearer { context, told: &means.told };
    let worker = ask::ready(client, &reply.worker.id, timings, &mut audience).await?;
    Ok(format!("restarted {} on {hive} ({})", worker.id, worker.state.name()))
}

/// Each check is a line, and its hint one below it.
async fn doctor(hive: &HiveName, context: &Context, told: &Arc<Told>) -> Result<String, Fault> {
    use wire::doctor::Verdict;
    let checks = examination::of(hive, context, told.clone()).await;
    let widest = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    for check in &checks {
        let (word, kind) = match check.verdict {
            Verdict::Ok => ("ok  ", Kind::Text),
            Verdict::Warning => ("warn", Kind::Warning),
            Verdict::Failed => ("FAIL", Kind::Error),
            Verdict::Unknown => ("?   ", Kind::Muted),
        };
        told.say(Line::new(&format!("{word}  {:widest$}  {}", check.name, check.seen), kind));
        if let Some(hint) = &check.hint {
            told.say(Line::new(&format!("      hint: {hint}"), Kind::Hint));
        }
    }
    let failed = checks.iter().filter(|check| check.verdict == Verdict::Failed).count();
    Ok(match failed {
        0 => format!("{hive}: all {} checks are done, none failed", checks.len()),
        1 => format!("{hive}: one check failed"),
        _ => format!("{hive}: {failed} checks failed"),
    })
}

/// Ends everything, all hives at once; each is told as soon as it has ended.
async fn down(means: &Means<'_>) -> Result<String, Fault> {
    let (context, told) = (means.context, &means.told);
    let mut ways = means.ways.to_vec();
    if ways.iter().all(|way| *way.hive() != HiveName::local()) {
        // This machine's agent may run from before there were hives.
        ways.insert(0, Way::Local(context.local()));
    }
    let mut ending: FuturesUnordered<_> = ways
        .iter()
        .map(|way| async move { (way.hive(), end_in_time(way, None, context).await) })
        .collect();
    let (mut failure, mut count) = (None, 0_usize);
    while let Some((hive, outcome)) = ending.next().await {
        match outcome.and_then(|ended| tell_ended(told, std::slice::from_ref(&ended))) {
            Ok(()) => count += 1,
            Err(fault) => {
                told.absent(hive, &fault);
                failure = failure.or(Some(fault));
            }
        }
    }
    match failure {
        Some(fault) => Err(fault),
        None => Ok(format!("nothing of rbee runs any more, on {count} of {count} machines")),
    }
}

fn tell_ended(told: &Told, ended: &[Ended]) -> Result<(), Fault> {
    for sentence in sentences(ended) {
        told.say(Line::new(&sentence, Kind::Text));
    }
    ended.iter().try_for_each(|one| nothing_left(&one.hive, &one.workers))
}

/// Hears how a load goes.
struct Hearer<'a> {
    context: &'a Context,
    told: &'a Told,
}

impl Audience for Hearer<'_> {
    fn deadline(&self, limit: Duration) -> Deadline {
        self.context.dialer.deadline(limit)
    }

    fn absent(&mut self, hive: &HiveName, why: &Fault) {
        self.told.absent(hive, why);
    }

    fn retries(&mut self, why: &Fault, _: Duration) {
        self.told.warns(&why.message);
    }

    fn silent(&mut self, hive: &HiveName, since: Option<Duration>) {
        self.told.notes(&match since {
            Some(time) => format!("{hive} has been silent for {} s; waiting", time.as_secs()),
            None => format!("{hive} is heard again"),
        });
    }

    fn hub(&mut self) -> Result<HubSource, Fault> {
        let Hub { source, caution } = self.context.find_hub()?;
        if let Some(fault) = caution {
            self.told.warns(&fault.message);
        }
        Ok(source)
    }

    fn pulls(&mut self, _: &HiveName, model: &ModelRef, event: &PullEvent) {
        models::tell(self.told, model, event);
    }

    fn waits(&mut self, worker: &WorkerInfo, _: Duration) {
        let line = format!("{}: {}", worker.id, how_far(&worker.state));
        self.told.say(Line::passing(&line));
    }

    async fn placed(&mut self, _: &Placed) -> Result<(), Failure> {
        Ok(())
    }

    async fn chunk(&mut self, _: &Chunk) -> Result<(), Failure> {
        Ok(())
    }
}
