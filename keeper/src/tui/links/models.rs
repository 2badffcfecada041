//! The models that hives keep: fetched, listed, removed.

use wire::pull::{PullEvent, PullRequest};
use wire::{Fault, ModelRef};

use super::operate::Means;
use super::told::Told;
use crate::context::Context;
use crate::hub::Hub;
use crate::link::streams::Step;
use crate::link::way::Way;
use crate::link::{self, Transport};
use crate::operations::Account;
use crate::output::progress::{Fetching, bytes, fetching};
use crate::tui::records::Line;
use crate::tui::rows::Kind;

/// Has a hive fetch a model; what has come stays when nobody wants it any more.
pub async fn pull(way: &Way, model: &ModelRef, means: &mut Means<'_>) -> Result<String, Fault> {
    let (context, told) = (means.context, means.told.clone());
    let Hub { source, caution } = context.find_hub()?;
    if let Some(fault) = caution {
        told.warns(&fault.message);
    }
    let (client, _events) = link::reach(way, &context.config.timings).await?;
    let mut pulling = client.pull(&PullRequest { model: model.clone(), source }).await?;
    loop {
        let step = tokio::select! {
            step = pulling.step() => step?,
            Some(()) = means.given_up.recv() => {
                return Ok("what has come is kept; the same goes on where it was".to_owned());
            }
        };
        match step {
            Step::Going(event) => tell(&told, model, &event),
            Step::Done(kept) => {
                return Ok(format!("{model} is on {}, {}", way.hive(), bytes(kept.bytes)));
            }
        }
    }
}

/// Says how far a fetching is.
pub fn tell(told: &Told, model: &ModelRef, event: &PullEvent) {
    match fetching(model, event) {
        Some(Fetching::Said(line)) => told.say(Line::new(&line, Kind::Text)),
        Some(Fetching::Passing(line)) => told.say(Line::passing(&line)),
        None => {}
    }
}

/// Lists what a hive keeps.
pub async fn list(way: &Way, context: &Context, told: &Told) -> Result<String, Fault> {
    let (client, _events) = link::reach(way, &context.config.timings).await?;
    let list = client.models().await?;
    for kept in &list.models {
        let gone = if kept.missing_bytes > 0 { ", its files are gone" } else { "" };
        let line = format!("{}  {}{gone}", kept.model, bytes(kept.bytes));
        told.say(Line::new(&line, Kind::Text));
    }
    for place in &list.damaged {
        told.say(Line::new(&format!("an entry was damaged and is {place} now"), Kind::Warning));
    }
    Ok(match list.models.len() {
        0 => "no model was pulled; :pull hf:ORG/REPO does it".to_owned(),
        1 => "one model".to_owned(),
        more => format!("{more} models"),
    })
}

/// Removes one of them.
pub async fn forget(way: &Way, model: &ModelRef, context: &Context) -> Result<String, Fault> {
    let client = link::connect(way, &context.config.timings).await?;
    let client = client.ok_or_else(|| link::no_agent(way.hive()))?;
    let reply = client.remove_model(model).await?;
    Ok(format!("{model} is removed; {} are free again", bytes(reply.freed_bytes)))
}
