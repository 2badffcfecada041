//! `rbee ps --watch`: the hives as they live, until Ctrl-C.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{join_all, try_join};
use serde::Serialize;
use tokio::sync::mpsc;
use wire::event::{Event, Warning};
use wire::worker::WorkerInfo;
use wire::{Fault, HiveName, WorkerId, text};

use super::ps::{self, Show};
use crate::ask::passed;
use crate::context::Context;
use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::interrupt::Interrupts;
use crate::link::Transport;
use crate::link::watch::{News, Standing, watch};
use crate::link::way::Way;

/// News of all hives that wait to be shown.
const MAX_WAITING: usize = 256;
/// Shortest time between two pictures on a terminal.
const FRAME: Duration = Duration::from_millis(200);
/// Cursor to the upper left corner, erase what follows (ECMA-48, sections 8.3.21 and 8.3.39).
const FROM_THE_TOP: &str = "\u{1b}[H\u{1b}[J";
/// Bytes of a reason that are shown.
const MAX_WHY_BYTES: usize = 200;

/// One change, for scripts.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Standing {
        hive: &'a HiveName,
        standing: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<&'a Fault>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_try_ms: Option<u64>,
    },
    Worker {
        hive: &'a HiveName,
        worker: Box<ps::Row<'a>>,
    },
    Gone {
        hive: &'a HiveName,
        gone: &'a WorkerId,
    },
    Warnings {
        hive: &'a HiveName,
        warnings: &'a [Warning],
    },
}

/// Follows the hives that `ways` lead to and shows what changes: a picture that renews itself on a
/// terminal, else a line for each change.
///
/// # Errors
/// When standard output is closed or full; Ctrl-C is the usual end.
pub async fn run(ways: &[Way], context: &Context, json: bool) -> Result<(), Failure> {
    let mut interrupts = Interrupts::listen()?;
    let (sender, mut news) = mpsc::channel(MAX_WAITING);
    let timings = &context.config.timings;
    let watching = join_all(ways.iter().map(|way| watch(way, timings, sender.clone())));
    drop(sender);
    let picture = !json && context.environment.terminals.stdout;
    let mut board = Board::new(ways);
    let showing = async {
        // When the next picture is due; none while nothing is new.
        let mut due: Option<Instant> = None;
        let mut shown: Option<Instant> = None;
        loop {
            tokio::select! {
                what = news.recv() => {
                    let Some((hive, what)) = what else { break };
                    if !picture {
                        tell(&hive, &what, json, context)?;
                    }
                    board.take(&hive, what);
                    let next = shown.map_or_else(Instant::now, |then| then + FRAME);
                    due = due.or(Some(next));
                }
                () = passed(due), if picture => {
                    context.print(&board.render(context.environment.stdout_width()))?;
                    (due, shown) = (None, Some(Instant::now()));
                }
            }
        }
        // The last word is shown, too.
        if picture && due.is_some() {
            context.print(&board.render(context.environment.stdout_width()))?;
        }
        Ok::<(), Failure>(())
    };
    tokio::select! {
        // Ends only when every hive refused; then there is nothing to wait for.
        outcome = try_join(showing, watching.map(|_| Ok(()))) => outcome?,
        () = interrupts.next() => return Err(Failure::interrupted()),
    };
    match board.standings.into_values().next() {
        Some(Standing::Refused { why }) => Err(why.into()),
        _ => Ok(()),
    }
}

/// What is known of all hives.
struct Board {
    standings: BTreeMap<HiveName, Standing>,
    fleet: Fleet,
    began: Instant,
}

impl Board {
    fn new(ways: &[Way]) -> Self {
        let standings = ways.iter().map(|way| (way.hive().clone(), Standing::Connecting)).collect();
        Self { standings, fleet: Fleet::default(), began: Instant::now() }
    }

    fn take(&mut self, hive: &HiveName, news: News) {
        match news {
            News::Standing(standing) => {
                self.standings.insert(hive.clone(), standing);
            }
            News::Event(event) => {
                // Gaps are mended where the events come from.
                let _whole = self.fleet.update(hive, *event, self.began.elapsed());
            }
        }
    }

    /// The whole picture for a terminal of `width` columns.
    fn render(&self, width: Option<usize>) -> String {
        let mut out = String::from(FROM_THE_TOP);
        for (hive, standing) in &self.standings {
            let _ = writeln!(out, "{hive}: {}", sentence(standing));
            let known = self.fleet.hive(hive).filter(|_| *standing == Standing::Online);
            for warning in known.into_iter().flat_map(|known| &known.warnings) {
                let _ = writeln!(out, "warning: {}", ps::shortage(hive, warning));
            }
        }
        out.push('\n');
        let online = |hive: &HiveName| self.standings.get(hive) == Some(&Standing::Online);
        let rows: Vec<(&HiveName, &WorkerInfo)> = self
            .fleet
            .hives()
            .filter(|(hive, _)| online(hive))
            .flat_map(|(name, hive)| hive.workers.values().map(move |worker| (name, worker)))
            .filter(|(_, worker)| !worker.state.is_finished())
            .collect();
        if rows.is_empty() {
            out.push_str("no model is loaded\n");
        } else {
            out.push_str(&ps::table(&rows, Show::Live).render(width));
        }
        out
    }
}

/// Says one change as a line.
fn tell(hive: &HiveName, news: &News, json: bool, context: &Context) -> Result<(), Failure> {
    match news {
        News::Standing(standing) => {
            let (word, why, pause) = parts(standing);
            let next_try_ms = pause.map(|time| u64::try_from(time.as_millis()).unwrap_or(0));
            if json {
                return context.print_json(&Line::Standing {
                    hive,
                    standing: word,
                    why,
                    next_try_ms,
                });
            }
            context.print(&format!("{hive}  {}\n", sentence(standing)))
        }
        News::Event(event) => match &**event {
            Event::Snapshot(snapshot) => {
                if !snapshot.warnings.is_empty() {
                    tell_warnings(hive, &snapshot.warnings, json, context)?;
                }
                let mut workers = snapshot.workers.iter();
                workers.try_for_each(|worker| tell_worker(hive, worker, json, context))
            }
            Event::Warnings { warnings } => tell_warnings(hive, warnings, json, context),
            Event::Worker { worker, .. } => tell_worker(hive, worker, json, context),
            Event::WorkerGone { id, .. } if json => {
                context.print_json(&Line::Gone { hive, gone: id })
            }
            Event::WorkerGone { id, .. } => context.print(&format!("{hive}  {id}  gone\n")),
            _ => Ok(()),
        },
    }
}

fn tell_warnings(
    hive: &HiveName,
    warnings: &[Warning],
    json: bool,
    context: &Context,
) -> Result<(), Failure> {
    if json {
        return context.print_json(&Line::Warnings { hive, warnings });
    }
    for warning in warnings {
        context.warn(&ps::shortage(hive, warning));
    }
    Ok(())
}

fn tell_worker(
    hive: &HiveName,
    worker: &WorkerInfo,
    json: bool,
    context: &Context,
) -> Result<(), Failure> {
    if json {
        let worker = Box::new(ps::row(hive, worker, Show::All));
        return context.print_json(&Line::Worker { hive, worker });
    }
    context.print(&format!("{hive}  {}  {}\n", worker.id, ps::state(worker)))
}

/// The word, the reason and the pause of a standing.
fn parts(standing: &Standing) -> (&'static str, Option<&Fault>, Option<Duration>) {
    match standing {
        Standing::Connecting => ("connecting", None, None),
        Standing::Online => ("online", None, None),
        Standing::Stopped => ("stopped", None, None),
        Standing::Unreachable { why, pause } => ("unreachable", Some(why), Some(*pause)),
        Standing::Refused { why } => ("refused", Some(why), None),
    }
}

fn sentence(standing: &Standing) -> String {
    let (word, why, pause) = parts(standing);
    let mut said = word.to_owned();
    if let Some(why) = why {
        let _ = write!(said, ": {}", text::one_line(&why.message, MAX_WHY_BYTES));
    }
    if let Some(pause) = pause {
        let _ = write!(said, "; next try in {:.1} s", pause.as_secs_f64());
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::tests::{snapshot, worker};
    use wire::Code;
    use wire::event::Resource;
    use wire::worker::WorkerState;

    #[test]
    fn a_lost_hive_stays_in_the_picture_with_its_reason_and_without_its_workers() {
        let pc: HiveName = "pc".parse().unwrap();
        let (standings, fleet) = (BTreeMap::new(), Fleet::default());
        let mut board = Board { standings, fleet, began: Instant::now() };
        board.take(&pc, News::Standing(Standing::Online));
        let event = snapshot(1, vec![worker("demo-1", WorkerState::Ready)]);
        board.take(&pc, News::Event(Box::new(event)));
        let (resource, free_bytes, reserve_bytes) = (Resource::Memory, 1 << 20, 2 << 20);
        let short = Warning { resource, free_bytes, reserve_bytes, path: None };
        board.take(&pc, News::Event(Box::new(Event::Warnings { warnings: vec![short] })));
        let shown = board.render(None);
        assert!(shown.contains("pc: online") && shown.contains("demo-1"), "{shown}");
        assert!(shown.contains("warning: the hive pc: memory runs short: 1 MiB"), "{shown}");
        let why = Fault::new(Code::HiveUnreachable, "the cable\u{1b}[2J is out");
        let pause = Duration::from_millis(1500);
        board.take(&pc, News::Standing(Standing::Unreachable { why, pause }));
        let shown = board.render(None);
        assert!(shown.contains("pc: unreachable: the cable") && shown.contains("1.5 s"), "{shown}");
        assert!(!shown.contains("demo-1"), "{shown}");
        assert_eq!(shown.matches('\u{1b}').count(), 2, "no escape but our own: {shown:?}");
    }
}
