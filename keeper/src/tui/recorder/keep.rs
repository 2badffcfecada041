//! Where recordings are kept: private files of the state directory. The one place that touches
//! them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use wire::text::for_terminal;
use wire::{Code, Fault};

use super::form::MAX_FILE_BYTES;
use super::{Recorder, Recording, Start};
use crate::context::Context;
use crate::tui::state::State;

/// Files that are kept; older ones are taken away.
const MAX_FILES: usize = 20;

/// A recorder that a panic finds, too.
#[derive(Debug, Clone)]
pub struct Kept {
    recorder: Arc<Mutex<Recorder>>,
    dir: PathBuf,
    build: String,
}

impl Kept {
    /// Records from now on; `keys` are the person's own.
    pub fn begin(state: &State, context: &Context, keys: String) -> Self {
        let recorder = Recorder::new(Start {
            size: state.size,
            theme: state.theme.name().clone(),
            hives: context.hives(),
            models: state.models.clone(),
            partner: state.chat().partner.as_ref().map(|it| it.model.clone()),
            keys,
            inline: state.is_inline(),
            ids: state.archive.random,
        });
        Self::new(recorder, &context.environment.dirs.state, context.build.as_str())
    }

    /// Keeps recordings below `state`, the user's directory of the program.
    pub fn new(recorder: Recorder, state: &Path, build: &str) -> Self {
        let recorder = Arc::new(Mutex::new(recorder));
        Self { recorder, dir: state.join("recordings"), build: build.to_owned() }
    }

    /// Lets the recorder see something.
    pub fn with<T>(&self, look: impl FnOnce(&mut Recorder) -> T) -> T {
        look(&mut self.recorder.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes what happened last to a new file; how many events, and where.
    ///
    /// # Errors
    /// `IO_ERROR` when it cannot be written.
    pub fn save(&self, whole: bool) -> Result<(usize, PathBuf), Fault> {
        let (count, text) = self.with(|it| (it.count(), it.text(whole, &self.build)));
        let written = write(&self.dir, &text).map_err(|error| {
            let message = format!("{} cannot be written", self.dir.display());
            Fault::new(Code::Io, message).caused_by(&error)
        })?;
        Ok((count, written))
    }

    /// From now on a panic of any thread writes what happened before it, and says where. Nobody's
    /// text is in it.
    pub fn save_in_a_panic(&self) {
        let (before, own) = (std::panic::take_hook(), self.clone());
        std::panic::set_hook(Box::new(move |what| {
            before(what);
            // Who panicked may hold it.
            let text = own.recorder.try_lock().ok().map(|it| it.text(false, &own.build));
            if let Some(Ok(path)) = text.map(|text| write(&own.dir, &text)) {
                let path = for_terminal(&path.to_string_lossy());
                let said = "what happened before is recorded, without your text";
                let _ = writeln!(io::stderr().lock(), "{said}: rbee replay {path}");
            }
        }));
    }
}

fn write(dir: &Path, text: &str) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let path = dir.join(format!("{}.jsonl", since.as_millis()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(text.as_bytes())?;
    collect(dir);
    Ok(path)
}

/// Takes the oldest files away. What cannot be removed is left for the next time.
fn collect(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "jsonl"));
    files.sort();
    for path in files.iter().rev().skip(MAX_FILES) {
        let _ = fs::remove_file(path);
    }
}

/// Reads a recording.
///
/// # Errors
/// `IO_ERROR` when it cannot be read, `TOO_LARGE`, and those of [`Recording::parse`].
pub fn read(path: &Path) -> Result<Recording, Fault> {
    let cannot = |error: &io::Error| {
        let message = format!("{} cannot be read", path.display());
        Fault::new(Code::Io, message).caused_by(error)
    };
    let file = File::open(path).map_err(|error| cannot(&error))?;
    let mut text = String::new();
    let bound = MAX_FILE_BYTES + 1;
    file.take(bound).read_to_string(&mut text).map_err(|error| cannot(&error))?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) >= bound {
        let message = format!("the recording has more than {MAX_FILE_BYTES} bytes");
        return Err(Fault::new(Code::TooLarge, message));
    }
    Recording::parse(&text)
}
