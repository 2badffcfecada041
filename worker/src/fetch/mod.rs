//! `rbee worker fetch`: brings the files of one model from a hub into a directory, and ends.
//!
//! A process of its own: what a hub sends is parsed here, away from the daemon, and a download is
//! ended by closing its standard input.

mod choice;
mod hub;
mod patience;
mod store;
mod teller;
mod transfer;

use std::io::{BufRead, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use tokio::sync::oneshot;
use wire::pull::{FetchOrder, PullEvent, StoredFile};
use wire::{Code, Fault, limits};

use crate::platform;
use hub::{Hub, Listing, Offered, Trouble};
use patience::Patience;
use store::Store;
use teller::Teller;
use transfer::Way;

/// Bytes of data that this process may take: hf-hub reads the answers that it parses, and those of
/// refusals, to their end, however long a hub makes them.
const MAX_DATA_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// Runs it: the order on one line of standard input, an event a line on standard output.
///
/// # Errors
/// Only what cannot be told there; what went wrong with the model is the last event.
pub fn run() -> Result<ExitCode, Fault> {
    platform::limit_data(MAX_DATA_BYTES)
        .map_err(|error| Fault::new(Code::Io, "cannot limit this process's data").cause(error))?;
    let mut teller = Teller::new(std::io::stdout());
    let outcome = order().and_then(|order| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Fault::new(Code::Io, "cannot start fetching").cause(error))?;
        let outcome = runtime.block_on(until_nobody_waits(&order, &mut teller));
        // A name that is being looked up must not hold up the end.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(last) => {
            teller.tell(&last)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(fault) => {
            teller.tell(&PullEvent::Failed { fault })?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The first line of standard input.
fn order() -> Result<FetchOrder, Fault> {
    let mut line = Vec::new();
    let most = u64::try_from(limits::MAX_MESSAGE_BYTES).unwrap_or(u64::MAX);
    // What follows the line, of which nothing is expected, is for the lifeline.
    let read = std::io::stdin().lock().take(most).read_until(b'\n', &mut line);
    read.map_err(|error| Fault::new(Code::Io, "standard input cannot be read").cause(error))?;
    let order = serde_json::from_slice(&line);
    zeroize::Zeroize::zeroize(&mut line);
    // The message of the parser may repeat a part of the line, and that may be the token.
    order.map_err(|_| Fault::new(Code::InvalidArgument, "standard input is no order to fetch"))
}

async fn until_nobody_waits<W: Write>(
    order: &FetchOrder,
    teller: &mut Teller<W>,
) -> Result<PullEvent, Fault> {
    let gone = lifeline()?;
    tokio::select! {
        biased;
        _ = gone => Err(Fault::new(Code::Cancelled, "nobody waits for the model any more")),
        outcome = fetch(order, teller) => outcome,
    }
}

/// Resolves when standard input ends: whoever wanted the model is gone, or wants it no more.
fn lifeline() -> Result<oneshot::Receiver<()>, Fault> {
    let (tell, gone) = oneshot::channel();
    let watch = move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        // The process may be at its end already.
        let _ = tell.send(());
    };
    match std::thread::Builder::new().name("lifeline".to_owned()).spawn(watch) {
        Ok(_) => Ok(gone),
        Err(error) => Err(Fault::new(Code::Io, "cannot watch standard input").cause(error)),
    }
}

async fn fetch<W: Write>(order: &FetchOrder, teller: &mut Teller<W>) -> Result<PullEvent, Fault> {
    let hub = Hub::new(&order.repo, &order.source)?;
    let store = Store::new(&order.dir, order.reserve_bytes);
    let listing = listing(&hub, order, teller).await?;
    let wanted = wanted(order, &listing)?;
    let here: Vec<u64> = wanted.iter().map(|file| here(&store, file)).collect();
    let bytes_total =
        wanted.iter().try_fold(0_u64, |sum, file| sum.checked_add(file.bytes.unwrap_or(0)));
    let bytes_total = bytes_total.ok_or_else(|| {
        Fault::new(Code::ModelUnsupported, format!("{} has no sensible length", order.repo))
    })?;
    teller.expect(bytes_total, here);
    let revision = listing.revision;
    teller.tell(&PullEvent::Found {
        revision: revision.clone(),
        files: u32::try_from(wanted.len()).unwrap_or(u32::MAX),
        bytes_total,
        bytes_done: teller.bytes_done(),
    })?;
    store.has_room(bytes_total.saturating_sub(teller.bytes_done()))?;
    let stall = order.timings.download_stall;
    let way = Way { hub: &hub, revision: &revision, store: &store, stall };
    let mut files: Vec<StoredFile> = Vec::with_capacity(wanted.len());
    for (number, file) in wanted.iter().enumerate() {
        let mut patience = Patience::new(&order.timings);
        let stored = loop {
            let before = teller.received();
            match way.bring(file, number, teller).await {
                Ok(stored) => break stored,
                Err(trouble) => {
                    let brought = brought(&trouble, teller.received() - before);
                    pause(&mut patience, trouble, brought, teller).await?;
                }
            }
        };
        files.push(stored);
    }
    Ok(PullEvent::Fetched { revision, files })
}

/// What an attempt brought that is of use to the next.
fn brought(trouble: &Trouble, received: u64) -> u64 {
    match trouble {
        // All of it was thrown away.
        Trouble::Passing { fault, .. } if fault.code == Code::ChecksumMismatch => 0,
        _ => received,
    }
}

async fn listing<W: Write>(
    hub: &Hub,
    order: &FetchOrder,
    teller: &mut Teller<W>,
) -> Result<Listing, Fault> {
    let stall = order.timings.download_stall;
    let mut patience = Patience::new(&order.timings);
    loop {
        let asked = tokio::time::timeout(stall, hub.listing()).await;
        match asked.unwrap_or_else(|_| Err(transfer::silent(hub, stall))) {
            Ok(listing) => return Ok(listing),
            Err(trouble) => pause(&mut patience, trouble, 0, teller).await?,
        }
    }
}

async fn pause<W: Write>(
    patience: &mut Patience,
    trouble: Trouble,
    brought: u64,
    teller: &mut Teller<W>,
) -> Result<(), Fault> {
    let (pause, event): (Duration, PullEvent) = patience.after(trouble, brought)?;
    teller.tell(&event)?;
    tokio::time::sleep(pause).await;
    Ok(())
}

/// The chosen files, each with what the hub tells of it.
fn wanted(order: &FetchOrder, listing: &Listing) -> Result<Vec<Offered>, Fault> {
    let names: Vec<_> = listing.files.iter().map(|file| file.name.clone()).collect();
    let chosen = choice::choose(&order.repo, &names, order.selector.as_deref())?;
    let mut wanted = Vec::with_capacity(chosen.len());
    for name in chosen {
        let Some(file) = listing.files.iter().find(|file| file.name == name) else { continue };
        // A hub may name one twice; the first counts.
        if wanted.contains(file) {
            continue;
        }
        let is_known = file.sha256.is_some() && file.bytes.is_some();
        let bytes = file.bytes.unwrap_or(0);
        if name.as_str() == choice::CARD && bytes > limits::MAX_MODEL_CARD_BYTES {
            continue;
        }
        if !is_known && bytes > limits::MAX_SMALL_FILE_BYTES {
            let message = format!(
                "{name} of {} has {bytes} bytes and no digest that it could be checked against",
                order.repo
            );
            return Err(Fault::new(Code::ModelUnsupported, message));
        }
        wanted.push(file.clone());
    }
    Ok(wanted)
}

fn here(store: &Store, file: &Offered) -> u64 {
    match (&file.sha256, file.bytes) {
        (Some(sha256), Some(bytes)) => store.bytes_of(sha256, bytes),
        _ => 0,
    }
}
