//! `rbee rm`: a hive forgets a model.

use wire::pull::RemoveReply;
use wire::{Code, Fault, HiveName, ModelRef, text};

use super::list::look;
use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::link::way::Way;
use crate::link::{self, Transport};
use crate::model;
use crate::output::progress::bytes;

/// Remove a model that was pulled, and the files that no other one needs.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model, as `rbee ls` shows it, or an alias of it.
    #[arg(value_name = "MODEL")]
    model: String,
    /// The hive that keeps it.
    #[arg(long, value_name = "NAME")]
    hive: Option<HiveName>,
    /// Write what was removed as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Does it.
///
/// # Errors
/// `MODEL_NOT_FOUND` for one that no hive keeps, a usage error for one that several keep.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let model = model::resolve(&args.model, context.config.known_aliases())?;
    let ways = context.ways(args.hive.as_ref())?;
    let (hive, reply) = block_on(remove(&ways, &model, context))?;
    if args.json {
        return context.print_json(&reply);
    }
    let (name, freed) = (text::one_line(&model.to_string(), 64), bytes(reply.freed_bytes));
    context.note(&format!("removed {name} from {}: {freed} are free again", link::named(&hive)));
    Ok(())
}

async fn remove(
    ways: &[Way],
    model: &ModelRef,
    context: &Context,
) -> Result<(HiveName, RemoveReply), Failure> {
    let seen = look(ways, context).await?;
    let keeps = |way: &&Way| {
        seen.iter().any(|(hive, list)| {
            hive == way.hive() && list.models.iter().any(|kept| kept.model == *model)
        })
    };
    let mut there = ways.iter().filter(keeps);
    let word = text::shell_word(&model.to_string());
    match (there.next(), there.next()) {
        (Some(way), None) => {
            let client = link::connect(way, &context.config.timings).await?;
            let client = client.ok_or_else(|| link::no_agent(way.hive()))?;
            Ok((way.hive().clone(), client.remove_model(model).await?))
        }
        (Some(one), Some(_)) => {
            let failure = Failure::usage("several hives keep it: which one shall forget it?");
            Err(failure.hint(format!("rbee rm --hive {} {word}", one.hive())))
        }
        (None, _) => {
            let message = format!("{model} is kept by no hive");
            Err(Fault::new(Code::ModelNotFound, message).hint("rbee ls").into())
        }
    }
}
