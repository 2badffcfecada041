//! `rbee doctor`: looks at everything a request passes through, and says what to do.

use std::fmt::Write as _;

use wire::doctor::{Check, Verdict};
use wire::{Code, Fault, text};

use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::operations::checks;
use crate::output::style::Style;

/// Bytes of what a check saw that are shown.
const MAX_SEEN_BYTES: usize = 1024;

/// Check this machine: configuration, directories, installation, agent, devices.
///
/// To check the whole way it starts the agent when none runs.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write a JSON array.
    #[arg(long)]
    pub json: bool,
}

/// Does it.
///
/// # Errors
/// When a check failed.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let checks = block_on(async { Ok(checks::here(context).await) })?;
    if args.json {
        context.print_json(&checks)?;
    } else {
        context.print(&shown(&checks, &context.stdout_style()))?;
    }
    all_well(&checks)
}

/// Fails when a check did.
///
/// # Errors
/// With the number of checks that failed.
pub fn all_well<'a>(checks: impl IntoIterator<Item = &'a Check>) -> Result<(), Failure> {
    let failed = checks.into_iter().filter(|check| check.verdict == Verdict::Failed).count();
    match failed {
        0 => Ok(()),
        1 => Err(Fault::new(Code::Io, "one check failed").into()),
        _ => Err(Fault::new(Code::Io, format!("{failed} checks failed")).into()),
    }
}

/// The checks for a person, a line each.
pub fn shown(checks: &[Check], style: &Style) -> String {
    let widest = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for check in checks {
        let verdict = match check.verdict {
            Verdict::Ok => style.ok("ok  "),
            Verdict::Warning => style.warning("warn"),
            Verdict::Failed => style.error("FAIL"),
            Verdict::Unknown => style.muted("?   "),
        };
        let name = text::one_line(&check.name, MAX_SEEN_BYTES);
        let seen = text::one_line(&check.seen, MAX_SEEN_BYTES);
        let _ = writeln!(out, "{verdict}  {name:widest$}  {seen}");
        if let Some(hint) = &check.hint {
            let hint = text::one_line(hint, MAX_SEEN_BYTES);
            let _ = writeln!(out, "      {:widest$}  {} {hint}", "", style.hint("hint:"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::checks::{check, hinted};

    #[test]
    fn each_check_is_a_line_and_a_hint_stands_below_it() {
        let checks = [
            check("agent", Verdict::Ok, "fine\u{1b}[2J"),
            hinted(check("installed build", Verdict::Failed, "changed"), "rm it".to_owned()),
        ];
        let text = shown(&checks, &Style::plain());
        assert_eq!(
            text,
            "ok    agent            fine [2J\nFAIL  installed build  changed\n      \
             \x20                hint: rm it\n"
        );
    }
}
