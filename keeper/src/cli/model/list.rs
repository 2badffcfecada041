//! `rbee ls`: the models that hives keep.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use wire::pull::{ModelList, StoredModel};
use wire::{Code, Fault, HiveName, text};

use crate::cli::ask_all::ask_all;
use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::link::way::Way;
use crate::link::{self, Transport};
use crate::output::clock;
use crate::output::progress::bytes;
use crate::output::table::Table;

/// List the models that were pulled, of all hives whose agents run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only those of this hive.
    #[arg(long, value_name = "NAME")]
    hive: Option<HiveName>,
    /// Only those that came from there: hf.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Write a JSON array.
    #[arg(long)]
    pub json: bool,
}

/// One model for scripts.
#[derive(Debug, Serialize)]
struct Row<'a> {
    hive: &'a HiveName,
    #[serde(flatten)]
    model: &'a StoredModel,
}

/// Does it.
///
/// # Errors
/// When no hive can be asked.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let ways = context.ways(args.hive.as_ref())?;
    let seen = block_on(look(&ways, context))?;
    for (hive, list) in &seen {
        for place in &list.damaged {
            let place = text::for_terminal(place);
            let whose = link::named(hive);
            context.warn(&format!(
                "{whose}: an entry was damaged and is {place} now; pull its model again"
            ));
        }
    }
    let rows: Vec<(&HiveName, &StoredModel)> = seen
        .iter()
        .flat_map(|(hive, list)| list.models.iter().map(move |model| (hive, model)))
        .filter(|(_, model)| args.provider.as_ref().is_none_or(|one| *one == model.provider))
        .collect();
    if args.json {
        let rows: Vec<Row<'_>> = rows.iter().map(|(hive, model)| Row { hive, model }).collect();
        return context.print_json(&rows);
    }
    if rows.is_empty() {
        context.note("no model was pulled (rbee pull hf:ORG/REPO does it)");
        return Ok(());
    }
    context.print(&table(&rows).render(context.environment.stdout_width()))
}

/// What each hive keeps.
///
/// # Errors
/// When no hive can be asked.
pub async fn look(ways: &[Way], context: &Context) -> Result<Vec<(HiveName, ModelList)>, Failure> {
    ask_all(ways, context, |way| look_at(way, context)).await
}

async fn look_at(way: &Way, context: &Context) -> Result<(HiveName, ModelList), Fault> {
    let (hive, timings) = (way.hive().clone(), &context.config.timings);
    if hive == HiveName::local() {
        let (client, _events) = link::reach(way, timings).await?;
        return Ok((hive, client.models().await?));
    }
    // On other machines a look starts nothing: it could begin with an upload.
    let client = link::connect(way, timings).await?;
    let client = client.ok_or_else(|| {
        let message = format!("no agent runs on {}", link::named(&hive));
        Fault::new(Code::HiveUnreachable, message).hint(format!("rbee hive start {hive}"))
    })?;
    Ok((hive, client.models().await?))
}

fn table(rows: &[(&HiveName, &StoredModel)]) -> Table {
    let mut table = Table::new(&["MODEL", "HIVE", "SIZE", "PULLED"], 0);
    for (hive, model) in rows {
        let then = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(model.pulled_at_ms));
        let ago = then.and_then(|then| SystemTime::now().duration_since(then).ok());
        let ago = ago.map_or_else(|| "-".to_owned(), |ago| format!("{} ago", clock::duration(ago)));
        let pulled = if model.missing_bytes > 0 { "files are gone".to_owned() } else { ago };
        table.row([model.model.to_string(), hive.to_string(), bytes(model.bytes), pulled]);
    }
    table
}
