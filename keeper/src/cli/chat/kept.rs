//! Conversations that are kept: `rbee chat --inline`, `--continue`, `--list`.

use wire::{Code, Fault, text};

use super::Args;
use crate::context::Context;
use crate::conversations::store::{LOCK_PATIENCE, Store};
use crate::conversations::{Conversation, FILE, MAX_SEARCH_BYTES, Settings};
use crate::failure::Failure;
use crate::output::clock::utc;
use crate::output::table::Table;
use crate::tui::{self, Start};

/// Chats in the last rows of the screen.
///
/// # Errors
/// A usage error without a terminal; `NOT_FOUND` when nothing has the words; those of the TUI.
pub fn inline(args: &Args, context: &Context) -> Result<(), Failure> {
    let terminals = context.environment.terminals;
    if !terminals.stdin || !terminals.stdout {
        return Err(Failure::usage("--inline needs a terminal").hint("rbee chat"));
    }
    let conversation = args.resume.as_deref().map(|words| newest(words, context)).transpose()?;
    let mut model = args.model.want(context)?;
    // Refused here with the flag's name, and kept without the configuration's defaults.
    let _ = args.sampling.fields(context)?;
    let sampling = args.sampling.given();
    let mut settings =
        Settings { system: args.system.clone(), ctx_size: args.model.ctx_size, sampling };
    settings.check().map_err(|error| Failure::usage(error.to_string()))?;
    if let Some(Conversation { head, .. }) = &conversation {
        // What the command line says counts, and else what was said then.
        let sampling = settings.sampling_over(&head.settings.sampling);
        settings = Settings {
            system: settings.system.or_else(|| head.settings.system.clone()),
            ctx_size: settings.ctx_size.or(head.settings.ctx_size),
            sampling,
        };
        if args.model.model.is_none() {
            model.model = head.model.clone();
            model.hive = model.hive.or_else(|| head.hive.clone());
        }
    } else {
        args.model.explain_the_default(context);
    }
    let conversation = conversation.map(|mut it| {
        (it.head.model, it.head.hive) = (model.model.clone(), model.hive.clone());
        it.head.settings = settings.clone();
        it
    });
    let (model, hive, reasoning) = (model.model, model.hive, args.think);
    tui::inline(context, Start { model, hive, settings, reasoning, conversation })
}

fn store(context: &Context) -> Result<Store, Failure> {
    let opened = Store::open(&context.environment.dirs.data.join(FILE), LOCK_PATIENCE)?;
    if let Some(note) = opened.note {
        context.warn(&note.message);
    }
    Ok(opened.store)
}

/// The newest conversation with these words.
fn newest(words: &str, context: &Context) -> Result<Conversation, Failure> {
    let store = store(context)?;
    let found = store.list(words)?.into_iter().next().ok_or_else(|| {
        let words = text::one_line(words, MAX_SEARCH_BYTES);
        let message = if words.is_empty() {
            "no conversation is kept".to_owned()
        } else {
            format!("no conversation has the words {words}")
        };
        Fault::new(Code::NotFound, message).hint("rbee chat --list")
    })?;
    Ok(store.load(found.id)?)
}

/// Lists what is kept.
///
/// # Errors
/// Those of the file; a closed standard output.
pub fn list(context: &Context) -> Result<(), Failure> {
    let entries = store(context)?.list("")?;
    let mut table = Table::new(&["TITLE", "MODEL", "TURNS", "LAST"], 0);
    for entry in entries {
        table.row([entry.title, entry.model, entry.turns.to_string(), utc(entry.changed_ms)]);
    }
    context.print(&table.render(context.environment.stdout_width()))
}
