//! `rbee hive add`: reaches a machine, makes it a hive, and writes it down because it answered.

use std::path::PathBuf;

use serde::Serialize;
use wire::settings::Lifetime;
use wire::{HiveName, text};

use super::list::Row;
use crate::config::HiveSettings;
use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::hives::{self, seen};
use crate::interrupt::Interrupts;
use crate::operations::add::{self, key_file};
use crate::operations::latency;
use crate::ssh::address::Address;

/// Bytes of what is shown of a device.
const MAX_DEVICE_BYTES: usize = 512;

/// Make a machine with an SSH server a hive.
///
/// rbee connects, installs itself for this user, starts its agent and greets it. Only then the hive
/// is written into the configuration. Nothing is needed there beforehand, no port is opened, and
/// nothing runs as root.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  rbee hive add pc ada@pc.lan\n  \
    rbee hive add lab ada@10.0.0.7:2222 -i ~/.ssh/lab -J gate.example")]
pub struct Args {
    /// What it shall be called here: lower-case letters, digits, dashes and dots.
    #[arg(value_name = "NAME")]
    name: HiveName,
    /// `[user@]host[:port]`; the host may be a name of the ssh configuration.
    #[arg(value_name = "ADDRESS")]
    address: Address,
    /// A private key file, beside those of the ssh configuration.
    #[arg(short, long, value_name = "KEY")]
    identity: Option<PathBuf>,
    /// Go through this machine; several with commas between them.
    #[arg(short = 'J', long, value_name = "JUMP", value_delimiter = ',')]
    jump: Vec<Address>,
    /// Record the host key of a server that is not known yet without a question.
    #[arg(long)]
    pub accept_new: bool,
    /// Write what was found as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Found {
    #[serde(flatten)]
    row: Row,
    /// Median round trip, in milliseconds.
    latency_ms: f64,
}

/// Does it.
///
/// # Errors
/// When the name is taken or the machine cannot be made a hive. Nothing is written then, and no
/// agent is left that did not run before.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let name = &args.name;
    hives::refuse_duplicate(&context.config, name)?;
    let identity = args.identity.as_deref().map(key_file).transpose()?;
    let settings = HiveSettings {
        address: args.address.clone(),
        identity,
        jump: args.jump.clone(),
        lifetime: Lifetime::Persistent,
    };
    let found = block_on(async {
        let mut interrupts = Interrupts::listen()?;
        let steps = super::steps(context, 1);
        let way = context.dialer.remote(name, &settings, args.accept_new, steps.clone());
        let given_up = async || interrupts.next().await;
        Ok(add::add(&way, &settings, context, &*steps, given_up).await?)
    })?;
    let mut row = Row::new(name, Some(&settings.address));
    row.is_online(&found.snapshot);
    row.last_seen_ms = seen::last(&context.environment.dirs.state, name);
    if args.json {
        return context.print_json(&Found { row, latency_ms: latency::milliseconds(found.trip) });
    }
    let devices = row.devices.iter().fold(String::new(), |lines, device| {
        let words = text::one_line(&device.words(), MAX_DEVICE_BYTES);
        format!("{lines}{name}  {words}\n")
    });
    context.print(&devices)
}
