//! One thing done on several hives at once, and what came of it on each.

use futures_util::stream::{self, StreamExt};
use wire::{Fault, HiveName};

use crate::context::Context;
use crate::failure::Failure;
use crate::hives;

/// Hives that are worked on at once: each may be an upload.
const AT_ONCE: usize = 16;

/// Which hives a command is for.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// Hives by their names. This machine is `local`.
    #[arg(value_name = "NAME", required_unless_present = "all", conflicts_with = "all")]
    names: Vec<HiveName>,
    /// All that take part.
    #[arg(short, long)]
    all: bool,
}

impl Which {
    /// The names, each once.
    ///
    /// # Errors
    /// `HIVE_NOT_FOUND` before anything is done.
    pub fn hives(&self, context: &Context) -> Result<Vec<HiveName>, Failure> {
        if self.all {
            return Ok(context.hives());
        }
        let mut hives: Vec<HiveName> = Vec::new();
        for name in &self.names {
            known(name, context)?;
            if !hives.contains(name) {
                hives.push(name.clone());
            }
        }
        Ok(hives)
    }
}

/// Refuses a name that is no hive's.
///
/// # Errors
/// `HIVE_NOT_FOUND` with the names that are.
pub fn known(name: &HiveName, context: &Context) -> Result<(), Failure> {
    if *name == HiveName::local() || context.config.hives.contains_key(name) {
        return Ok(());
    }
    Err(hives::unknown(name, &context.config).into())
}

/// Does `what` on all of `hives`, a bounded number at a time; outcomes in the order of `hives`.
pub async fn each<'a, T, F>(
    hives: &'a [HiveName],
    what: impl Fn(&'a HiveName) -> F,
) -> Vec<(&'a HiveName, Result<T, Fault>)>
where
    F: Future<Output = Result<T, Fault>>,
{
    let work = hives.iter().map(|hive| {
        let one = what(hive);
        async move { (hive, one.await) }
    });
    stream::iter(work).buffered(AT_ONCE).collect().await
}

/// What failed, by hive.
#[derive(Debug)]
pub struct Failed {
    /// On how many hives it was tried.
    tried: usize,
    faults: Vec<(HiveName, Fault)>,
}

/// Parts what went well from what failed.
pub fn parted<T>(outcomes: Vec<(&HiveName, Result<T, Fault>)>) -> (Vec<T>, Failed) {
    let mut done = Vec::new();
    let mut failed = Failed { tried: outcomes.len(), faults: Vec::new() };
    for (hive, outcome) in outcomes {
        match outcome {
            Ok(one) => done.push(one),
            Err(fault) => failed.faults.push((hive.clone(), fault)),
        }
    }
    (done, failed)
}

impl Failed {
    /// The command's failure when something failed. That of a single hive is told by its caller;
    /// among several each is told here, by its name.
    ///
    /// # Errors
    /// The first fault's code, and how many hives it was.
    pub fn told(self, context: &Context) -> Result<(), Failure> {
        let Some((_, first)) = self.faults.first().cloned() else { return Ok(()) };
        if self.tried == 1 {
            return Err(first.into());
        }
        let names: Vec<String> = self.faults.iter().map(|(hive, _)| hive.to_string()).collect();
        let message = format!("failed on {} of {} hives", names.len(), self.tried);
        for (hive, mut fault) in self.faults {
            fault.message = format!("{hive}: {}", fault.message);
            // Nothing is left to tell when standard error is closed.
            let _ = Failure::from(fault).write(&mut std::io::stderr().lock(), &context.style);
        }
        Err(Fault::new(first.code, message).detail("hives", names).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use wire::Code;

    #[tokio::test(flavor = "current_thread")]
    async fn hives_are_worked_on_at_once_within_a_bound_and_told_in_order() {
        let hives: Vec<HiveName> =
            (0..40).map(|number| format!("pc{number}").parse().unwrap()).collect();
        let (now, most) = (Cell::new(0), Cell::new(0));
        let outcomes = each(&hives, |hive| {
            let (now, most) = (&now, &most);
            async move {
                now.set(now.get() + 1);
                most.set(now.get().max(most.get()));
                tokio::task::yield_now().await;
                now.set(now.get() - 1);
                match hive.as_str() {
                    "pc3" => Err(Fault::new(Code::HiveUnreachable, "away")),
                    name => Ok(name.to_owned()),
                }
            }
        })
        .await;
        assert_eq!(most.get(), AT_ONCE);
        assert!(outcomes.iter().map(|(hive, _)| *hive).eq(hives.iter()));
        let (done, failed) = parted(outcomes);
        assert_eq!((done.len(), failed.tried, failed.faults.len()), (39, 40, 1));
    }
}
