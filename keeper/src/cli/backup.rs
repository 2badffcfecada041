//! `rbee backup` and `rbee restore`: what nobody could fetch again, in a directory and back.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use wire::text::{for_terminal, shell_word};
use wire::{Code, Fault};

use super::model::list;
use crate::backup::{self, KeptModel, Manifest, PutBack, Source, Wanted};
use crate::config::{self, Config};
use crate::context::{Context, block_on};
use crate::conversations;
use crate::failure::Failure;
use crate::model::path_word;
use crate::output::clock;

/// The configuration, in a backup.
const CONFIG: &str = "config.toml";
/// What is beside it, in a backup as there.
const BESIDE: [&str; 1] = ["keys.toml"];
/// The directory of themes, in a backup as beside the configuration.
const THEMES: &str = "themes";

/// Copy what nobody could fetch again into a new directory.
///
/// The configuration, keys, themes and conversations, and the names of the models that hives keep.
/// Secrets and the models themselves are not part of it. What was written is read back and
/// compared.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory; it must not be there yet. Without it: `rbee-backup-` and the time, here.
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Write what is in it as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Put back what `rbee backup` copied.
///
/// The backup is read whole and compared with its digests before anything is done. Close other
/// programs of rbee first: they would go on writing to the files that were there.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// The directory that `rbee backup` made.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Also where a file is there that differs; that one gets another name.
    #[arg(long)]
    force: bool,
}

/// What a backup is, for scripts.
#[derive(Debug, Serialize)]
struct Made<'a> {
    dir: &'a Path,
    #[serde(flatten)]
    manifest: &'a Manifest,
}

/// Makes one.
///
/// # Errors
/// Those of [`backup::make`].
pub fn make(args: &Args, context: &Context) -> Result<(), Failure> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let stamp: String = clock::utc(now_ms).replace(' ', "T").replace(':', "");
    let dir = args.dir.clone().unwrap_or_else(|| format!("rbee-backup-{stamp}").into());
    let wanted = Wanted {
        sources: sources(context)?,
        conversations: Some(conversations_file(context)?).filter(|source| source.path.exists()),
        models: models(context),
    };
    let manifest = backup::make(&dir, &wanted, now_ms)?;
    if args.json {
        return context.print_json(&Made { dir: &dir, manifest: &manifest });
    }
    let (files, models) = (manifest.files.len(), wanted.models.len());
    context.note(&format!(
        "{}: {files} files, read back and compared; the names of {models} models are in it",
        dir.display()
    ));
    context.note(&format!("hint: rbee restore {}", path_word(&dir)));
    Ok(())
}

/// Puts one back.
///
/// # Errors
/// Those of [`backup::verify`]; `INVALID_CONFIG` for a configuration that is none any more, a
/// usage error for a file that is in the way.
pub fn restore(args: &RestoreArgs, context: &Context) -> Result<(), Failure> {
    let manifest = backup::verify(&args.dir)?;
    let mut plan = Vec::new();
    for part in &manifest.files {
        let from = args.dir.join(part.name.as_str());
        match place(part.name.as_str(), context) {
            Some(to) => plan.push((from, to)),
            None if part.name.as_str() == backup::MODELS => {}
            None => context.note(&format!("{} is not known and left out", part.name)),
        }
    }
    if let Some((from, _)) = plan.iter().find(|(from, _)| from.ends_with(CONFIG)) {
        let text = config::read(from).map_err(|error| {
            Fault::new(Code::InvalidConfig, from.display().to_string()).cause(error)
        })?;
        Config::parse(&text, from)?;
    }
    if !args.force {
        refuse_what_is_in_the_way(&plan, &args.dir)?;
    }
    let suffix = format!(".before-{}", manifest.made_at_ms);
    for (from, to) in &plan {
        let shown = to.display();
        context.note(&match backup::put_back(from, to, &suffix)? {
            PutBack::New => format!("{shown} is there again"),
            PutBack::Same => format!("{shown} is the same"),
            PutBack::Instead(aside) => {
                format!("{shown} is there again; what was there is {}", aside.display())
            }
        });
    }
    for KeptModel { hive, model, .. } in backup::models(&args.dir)? {
        let word = shell_word(&model.to_string());
        context.note(&format!("hint: rbee pull --hive {hive} {word}"));
    }
    Ok(())
}

fn refuse_what_is_in_the_way(plan: &[(PathBuf, PathBuf)], dir: &Path) -> Result<(), Failure> {
    let mut in_the_way = Vec::new();
    for (from, to) in plan {
        if backup::is_in_the_way(from, to)? {
            in_the_way.push(to.display().to_string());
        }
    }
    if in_the_way.is_empty() {
        return Ok(());
    }
    let message = format!("{} would be replaced", for_terminal(&in_the_way.join(", ")));
    let hint = format!("rbee restore --force {}  # keeps them under other names", path_word(dir));
    Err(Failure::usage(message).hint(hint))
}

/// Where a file of a backup belongs; none for one that this program does not know.
fn place(name: &str, context: &Context) -> Option<PathBuf> {
    let beside = |name| config::beside(&context.environment, context.config_path.as_deref(), name);
    match name {
        CONFIG => Some(context.config_path.clone().unwrap_or_else(|| beside(CONFIG))),
        conversations::FILE => Some(context.environment.dirs.data.join(conversations::FILE)),
        name if BESIDE.contains(&name) => Some(beside(name)),
        name => {
            let theme = name.strip_prefix(THEMES)?.strip_prefix('/')?;
            Some(beside(THEMES).join(theme))
        }
    }
}

fn conversations_file(context: &Context) -> Result<Source, Fault> {
    source(conversations::FILE, context.environment.dirs.data.join(conversations::FILE))
}

fn source(name: &str, path: PathBuf) -> Result<Source, Fault> {
    let name = name.parse().map_err(|error| {
        let message = format!("{}: {error}", path.display());
        Fault::new(Code::InvalidArgument, message).hint(format!("ls {}", path_word(&path)))
    })?;
    Ok(Source { name, path })
}

/// The person's own files that are there.
fn sources(context: &Context) -> Result<Vec<Source>, Fault> {
    let mut found = Vec::new();
    found.extend(context.config_path.clone().map(|path| source(CONFIG, path)));
    for name in BESIDE {
        found.extend(place(name, context).map(|path| source(name, path)));
    }
    let themes = config::themes_dir(&context.environment, context.config_path.as_deref());
    for file in std::fs::read_dir(themes).into_iter().flatten().flatten() {
        let name = file.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".toml") {
            found.push(source(&format!("{THEMES}/{name}"), file.path()));
        }
    }
    let found: Vec<Source> = found.into_iter().collect::<Result<_, _>>()?;
    Ok(found.into_iter().filter(|source| source.path.is_file()).collect())
}

/// The models of all hives that answer; the others are named.
fn models(context: &Context) -> Vec<KeptModel> {
    let asked = context.ways(None).map_err(Failure::from);
    let seen = asked.and_then(|ways| block_on(list::look(&ways, context)));
    let seen = seen.unwrap_or_else(|failure| {
        context.warn(&format!("without the names of models: {}", failure.fault.message));
        Vec::new()
    });
    let kept = seen.into_iter().flat_map(|(hive, list)| {
        list.models.into_iter().map(move |kept| KeptModel {
            hive: hive.clone(),
            model: kept.model,
            revision: kept.revision,
        })
    });
    kept.collect()
}
