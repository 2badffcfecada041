//! The person's own keys, themes and models, by the configuration and what stands beside it.

use std::path::PathBuf;

use wire::{Fault, ModelRef};

use super::diary::Weight;
use super::keys::KeyMap;
use super::state::State;
use crate::config;
use crate::context::Context;
use crate::output::theme;

/// The file of the person's own keys, beside the configuration.
const KEYS: &str = "keys.toml";

/// Checks the file of keys.
///
/// # Errors
/// `INVALID_CONFIG` with the file, the line and the column.
pub fn check_keys(context: &Context) -> Result<(), Fault> {
    KeyMap::read(&keys_file(context)).map(|_| ())
}

/// Where keys of the person's own are, if there are any.
pub fn keys_file(context: &Context) -> PathBuf {
    config::beside(&context.environment, context.config_path.as_deref(), KEYS)
}

/// The person's own keys. A file with an error changes none, and that is told: who mistyped a key
/// must still be able to ask a model.
pub fn take_keys(state: &mut State, context: &Context) {
    match KeyMap::read(&keys_file(context)) {
        Ok(keys) => state.keys = keys,
        Err(fault) => {
            state.caution(format!("the default keys count: {}", fault.message));
            state.diary.write(state.now, None, Weight::Warning, &fault.message);
        }
    }
}

/// The themes to choose from; one that cannot be read is told.
pub fn take_themes(state: &mut State, context: &Context) {
    let dir = config::themes_dir(&context.environment, context.config_path.as_deref());
    let (themes, faults) = theme::all(&dir);
    state.themes = themes;
    for fault in faults.iter().chain(&context.theme_fault) {
        state.warn(fault);
        state.diary.write(state.now, None, Weight::Warning, &fault.message);
    }
    if let Some(fault) = &context.theme_fault {
        state.caution(format!("the default theme counts: {}", fault.message));
    }
}

/// What can be talked with besides what is loaded: the default, the aliases, and `demo`.
pub fn models(context: &Context) -> Vec<(String, ModelRef)> {
    let aliases = &context.config.aliases;
    let aliases = aliases.iter().map(|(name, model)| (name.to_string(), model.clone()));
    let mut models: Vec<(String, ModelRef)> = context
        .default_model()
        .ok()
        .map(|model| (model.to_string(), model))
        .into_iter()
        .chain(aliases)
        .collect();
    if !models.iter().any(|(name, _)| name == "demo") {
        models.push(("demo".to_owned(), ModelRef::Demo));
    }
    models
}
