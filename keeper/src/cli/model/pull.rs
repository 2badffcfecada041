//! `rbee pull`: a hive fetches a model from the hub and keeps it.

use std::io;
use std::time::{Duration, Instant};

use wire::pull::{PullEvent, PullRequest, StoredModel};
use wire::{HiveName, ModelRef, text};

use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::interrupt::Interrupts;
use crate::link::streams::Step;
use crate::link::way::Way;
use crate::link::{self, Transport};
use crate::model;
use crate::output::clock;
use crate::output::progress::{Progress, bytes};

/// Fetch a model from the Hugging Face hub, to use it later.
///
/// `rbee run` does it by itself when the hive does not have the model. What was interrupted goes on
/// where it was. A token for private models is read from the file `hub-token` beside the
/// configuration, else from where `hf auth login` keeps it; nobody else may be able to read it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  rbee pull hf:bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M\n  \
    rbee pull --hive pc hf:Qwen/Qwen3-0.6B")]
pub struct Args {
    /// The model: `hf:org/repo`, `hf:org/repo:QUANT`, `hf:org/repo:file.gguf`, or an alias of one.
    #[arg(value_name = "MODEL")]
    model: String,
    /// The hive that keeps it. This machine is `local`.
    #[arg(long, value_name = "NAME")]
    hive: Option<HiveName>,
    /// Write one JSON event a line: found, progress, retrying, done, error.
    #[arg(long)]
    pub json: bool,
}

/// Does it.
///
/// # Errors
/// The failure that ended it.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let model = model::resolve(&args.model, context.config.known_aliases())?;
    if !matches!(model, ModelRef::Hub { .. }) {
        let failure = Failure::usage(format!("{model} is no model of a hub"));
        return Err(failure.hint("rbee pull hf:ORG/REPO"));
    }
    let way = only_way(args.hive.as_ref(), &model, context)?;
    let began = Instant::now();
    let kept = block_on(pull(&way, &model, args.json, context))?;
    if !args.json {
        context.note(&done(&kept, began.elapsed()));
    }
    Ok(())
}

/// The one hive that is meant.
fn only_way(hive: Option<&HiveName>, model: &ModelRef, context: &Context) -> Result<Way, Failure> {
    let mut ways = context.ways(hive)?;
    match (ways.pop(), ways.first()) {
        (Some(way), None) => Ok(way),
        (Some(_), Some(first)) => {
            let word = text::shell_word(&model.to_string());
            let failure = Failure::usage("there are several hives: which one shall keep it?");
            Err(failure.hint(format!("rbee pull --hive {} {word}", first.hive())))
        }
        (None, _) => Err(Failure::usage("there is no hive").hint("rbee hive list")),
    }
}

async fn pull(
    way: &Way,
    model: &ModelRef,
    json: bool,
    context: &Context,
) -> Result<StoredModel, Failure> {
    let mut interrupts = Interrupts::listen()?;
    let request = PullRequest { model: model.clone(), source: context.hub()? };
    let fetched = async {
        let (client, _events) = link::reach(way, &context.config.timings).await?;
        let mut pulling = client.pull(&request).await?;
        let mut teller = Teller::new(model, json, context);
        loop {
            match pulling.step().await {
                Ok(Step::Going(event)) => teller.tell(event)?,
                Ok(Step::Done(kept)) => {
                    teller.clear();
                    if json {
                        context.print_json(&PullEvent::Done { model: (*kept).clone() })?;
                    }
                    return Ok(*kept);
                }
                Err(fault) => {
                    teller.clear();
                    return Err(Failure::from(fault));
                }
            }
        }
    };
    tokio::select! {
        fetched = fetched => fetched,
        () = interrupts.next() => {
            // The line about how far it is belongs to what was given up: take it away.
            let _ = Progress::new(context.environment.terminals.stderr)
                .say(&mut io::stderr().lock(), "");
            context.note("what has come is kept: the same command goes on where it was");
            Err(Failure::interrupted())
        }
    }
}

/// Tells a person, or a script, how far it is.
struct Teller<'a> {
    model: &'a ModelRef,
    json: bool,
    context: &'a Context,
    progress: Progress,
}

impl<'a> Teller<'a> {
    fn new(model: &'a ModelRef, json: bool, context: &'a Context) -> Self {
        let progress = Progress::new(context.environment.terminals.stderr);
        Self { model, json, context, progress }
    }

    fn tell(&mut self, event: PullEvent) -> Result<(), Failure> {
        if self.json {
            return match event {
                PullEvent::Unknown => Ok(()),
                event => self.context.print_json(&event),
            };
        }
        let note = |line: &str| self.context.note(line);
        self.progress.fetch(&mut io::stderr(), self.model, &event, note);
        Ok(())
    }

    fn clear(&mut self) {
        let _ = self.progress.clear(&mut io::stderr().lock());
    }
}

fn done(kept: &StoredModel, elapsed: Duration) -> String {
    let (size, time) = (bytes(kept.bytes), clock::duration(elapsed));
    format!("pulled {}: {size} in {time}", text::one_line(&kept.model.to_string(), 64))
}
