//! Stops what runs on a hive, and takes it out of the configuration.

use std::path::PathBuf;

use serde::Serialize;
use wire::{Code, Fault, HiveName, text};

use super::Account;
use super::end::{Ended, end, nothing_left, sentences};
use crate::bootstrap::purge::Purged;
use crate::context::Context;
use crate::hives::{Registry, seen};
use crate::link::Transport;
use crate::link::way::Way;

/// Bytes of a path that are shown.
const MAX_PATH_BYTES: usize = 1024;

/// How a hive is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct How {
    /// With everything there that rbee put there: builds, models, logs.
    pub purge: bool,
    /// Also when it does not answer; what runs there goes on.
    pub force: bool,
}

/// What was done.
#[derive(Debug, Serialize)]
pub struct Removed {
    name: HiveName,
    /// What ended there; none when the hive did not answer.
    ended: Option<Ended>,
    /// What was removed there, when that was asked for.
    purged: Option<Removal>,
}

/// What was taken away there.
#[derive(Debug, Serialize)]
struct Removal {
    removed: Vec<String>,
    /// What somebody else has files in, or what could not be removed.
    left: Vec<String>,
}

/// Removes a hive, and says of which file.
///
/// # Errors
/// When it is this machine or unknown; when it does not answer, without [`How::force`]; when
/// something does not end. It stays in the configuration then.
pub async fn remove(
    way: &Way,
    how: How,
    context: &Context,
    account: &dyn Account,
) -> Result<(Removed, PathBuf), Fault> {
    let hive = way.hive();
    refuse_this_machine(hive)?;
    let removed = clear(way, how, context, account).await?;
    let path = Registry::of(&context.environment).remove(hive).await?;
    seen::forget(&context.environment.dirs.state, hive);
    if let Some(remote) = way.remote() {
        remote.forget();
    }
    if let Some(purged) = &removed.purged {
        account.notes(&format!("what rbee put on {hive} is removed"));
        for path in &purged.left {
            account.notes(&format!("left on {hive}: {}", text::one_line(path, MAX_PATH_BYTES)));
        }
    }
    account.notes(&format!("{hive} is taken out of {}", path.display()));
    Ok((removed, path))
}

/// Refuses the one hive that is always there.
///
/// # Errors
/// `INVALID_ARGUMENT` for this machine.
pub fn refuse_this_machine(hive: &HiveName) -> Result<(), Fault> {
    if *hive != HiveName::local() {
        return Ok(());
    }
    let message = "`local` is always this machine and cannot be removed";
    Err(Fault::new(Code::InvalidArgument, message).hint("rbee down"))
}

/// Ends what runs there, and removes what lies there when that is asked for.
async fn clear(
    way: &Way,
    how: How,
    context: &Context,
    account: &dyn Account,
) -> Result<Removed, Fault> {
    let hive = way.hive();
    let forgotten = |ended| Removed { name: hive.clone(), ended, purged: None };
    if let Some(other) = same_machine(hive, context) {
        let what = if how.purge { "nothing is stopped or removed" } else { "nothing is stopped" };
        account.notes(&format!("{other} is the same machine, {what} there"));
        return Ok(forgotten(None));
    }
    let ended = match end(way, None, context).await {
        Ok(ended) => ended,
        Err(fault) if how.force => {
            let why = text::for_terminal(&fault.message);
            account.warns(&format!("without the hive {hive}: {why}"));
            account.warns("what runs there goes on, and nothing is removed there");
            return Ok(forgotten(None));
        }
        Err(fault) => return Err(stays(hive, fault)),
    };
    for sentence in sentences(std::slice::from_ref(&ended)) {
        account.notes(&sentence);
    }
    nothing_left(&ended.hive, &ended.workers)?;
    let mut removed = forgotten(Some(ended));
    if let (true, Some(remote)) = (how.purge, way.remote()) {
        let Purged { removed: gone, left } =
            remote.purge().await.map_err(|fault| stays(hive, fault))?;
        removed.purged = Some(Removal { removed: gone, left });
    }
    Ok(removed)
}

/// Another name for the same place: its agent is needed.
fn same_machine<'a>(hive: &HiveName, context: &'a Context) -> Option<&'a HiveName> {
    let hives = &context.config.hives;
    let settings = hives.get(hive)?;
    hives.iter().find(|(name, other)| *name != hive && settings.leads_where(other)).map(|(n, _)| n)
}

/// A hive that cannot be cleared stays in the configuration, so that it can be tried again.
fn stays(hive: &HiveName, mut fault: Fault) -> Fault {
    let away = matches!(
        fault.code,
        Code::HiveUnreachable | Code::AuthFailed | Code::HostKeyChanged | Code::HostKeyUnknown
    );
    fault = fault.cause(format!("{hive} stays in the configuration"));
    if !away {
        return fault;
    }
    fault.hint(format!("rbee hive remove {hive} --force  # what runs there goes on"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hive_that_does_not_answer_is_only_forgotten_by_force() {
        let pc: HiveName = "pc".parse().unwrap();
        let away = stays(&pc, Fault::new(Code::HiveUnreachable, "no route"));
        assert!(away.hints[0].starts_with("rbee hive remove pc --force"), "{away:?}");
        let busy = stays(&pc, Fault::new(Code::Io, "it does not end"));
        assert!(busy.hints.is_empty() && busy.causes[0].contains("stays"));
    }
}
