//! The person's own machine: its clipboard, its files, its editor. Each child has its bounds.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use wire::limits::MAX_PROMPT_BYTES;
use wire::text::one_line;
use wire::{Code, Fault, RequestId};

use crate::environment::Desk;
use crate::output::progress::bytes;
use crate::tui::desk::Attachment;
use crate::tui::osc;

/// How long a program may take that serves the clipboard.
const CLIPBOARD_TIME: Duration = Duration::from_secs(2);
/// Paths that are offered.
const MAX_FOUND: usize = 50;
/// Entries of a directory that are looked at.
const MAX_ENTRIES: usize = 10_000;
/// Bytes of a path that is offered.
const MAX_PATH_BYTES: usize = 512;

/// Programs that serve the clipboard here, with their arguments.
fn programs(desk: &Desk) -> Vec<(&'static str, &'static [&'static str])> {
    let mut programs: Vec<(&str, &[&str])> = Vec::new();
    if cfg!(target_os = "macos") {
        programs.push(("pbcopy", &[]));
    }
    if desk.wayland {
        programs.push(("wl-copy", &[]));
    }
    if desk.x11 {
        programs.push(("xclip", &["-selection", "clipboard"]));
        programs.push(("xsel", &["--clipboard", "--input"]));
    }
    programs
}

/// Puts a text into the clipboard, when a program serves it here; which way it went. The terminal
/// was asked before.
pub async fn copy(text: &str, desk: &Desk) -> Result<String, Fault> {
    let size = bytes(u64::try_from(text.len()).unwrap_or(u64::MAX));
    for (program, arguments) in programs(desk) {
        let fed = tokio::time::timeout(CLIPBOARD_TIME, feed(program, arguments, text)).await;
        if matches!(fed, Ok(Ok(true))) {
            return Ok(format!("copied {size} to the clipboard with {program}"));
        }
    }
    let hint =
        if desk.tmux { "tmux set -g set-clipboard on" } else { "apt install wl-clipboard xclip" };
    if text.len() > osc::MAX_BYTES {
        let most = bytes(u64::try_from(osc::MAX_BYTES).unwrap_or(u64::MAX));
        let what = format!("{size} is more than a terminal's clipboard takes, {most}");
        return Err(Fault::new(Code::TooLarge, what).hint("apt install wl-clipboard xclip"));
    }
    Ok(format!("sent {size} to the terminal's clipboard; if it is not there: {hint}"))
}

/// Whether a program took the text.
async fn feed(program: &str, arguments: &[&str], text: &str) -> std::io::Result<bool> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.kill_on_drop(true).spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(text.as_bytes()).await?;
    }
    Ok(child.wait().await?.success())
}

/// A path as it was typed: `~` is the home directory.
fn resolved(typed: &str, home: &Path) -> PathBuf {
    match typed.strip_prefix("~/") {
        Some(rest) => home.join(rest),
        None => PathBuf::from(typed),
    }
}

/// The paths that begin as it was typed, directories with a slash.
pub fn complete(typed: &str, home: &Path) -> Vec<String> {
    let (dir, start) = typed
        .rsplit_once('/')
        .map_or(("", typed), |(dir, start)| (typed.get(..=dir.len()).unwrap_or(dir), start));
    let place = if dir.is_empty() { PathBuf::from(".") } else { resolved(dir, home) };
    let Ok(entries) = std::fs::read_dir(place) else { return Vec::new() };
    let mut found: Vec<String> = entries
        .take(MAX_ENTRIES)
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let hidden = name.starts_with('.') && !start.starts_with('.');
            let is_clean = one_line(&name, MAX_PATH_BYTES) == name;
            let slash = if entry.path().is_dir() { "/" } else { "" };
            (name.starts_with(start) && !hidden && is_clean).then(|| format!("{dir}{name}{slash}"))
        })
        .collect();
    found.sort();
    found.truncate(MAX_FOUND);
    found
}

/// Reads a text file.
///
/// # Errors
/// `IO_ERROR` where it cannot be read; `INVALID_ARGUMENT` for what is no file, is too large or no
/// text.
pub fn attach(typed: &str, home: &Path) -> Result<Attachment, Fault> {
    let path = resolved(typed.trim(), home);
    let shown = one_line(&path.display().to_string(), MAX_PATH_BYTES);
    let unread = |error: std::io::Error| {
        Fault::new(Code::Io, format!("{shown} cannot be read")).cause(error)
    };
    let refused = |why: String| Fault::new(Code::InvalidArgument, format!("{shown} {why}"));
    let facts = std::fs::metadata(&path).map_err(unread)?;
    if !facts.is_file() {
        return Err(refused("is no file".to_owned()));
    }
    let most = u64::try_from(MAX_PROMPT_BYTES).unwrap_or(u64::MAX);
    let too_large = |size| refused(format!("has {}; a message takes {}", bytes(size), bytes(most)));
    if facts.len() > most {
        return Err(too_large(facts.len()));
    }
    let content = std::fs::read(&path).map_err(unread)?;
    // It may have grown, and special files have no size.
    if content.len() > MAX_PROMPT_BYTES {
        return Err(too_large(u64::try_from(content.len()).unwrap_or(u64::MAX)));
    }
    let text = String::from_utf8(content).map_err(|error| {
        refused(format!("is no text: byte {} is not UTF-8", error.utf8_error().valid_up_to()))
    })?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(Attachment::new(&name.unwrap_or_default(), text))
}

/// Lets the person change a text with the editor of `VISUAL` or `EDITOR`. The terminal is the
/// editor's meanwhile.
///
/// # Errors
/// `IO_ERROR` where there is no editor, it fails, or what it left cannot be read.
pub async fn edit(text: &str, desk: &Desk, runtime: &Path) -> Result<String, Fault> {
    let failed = |what: String| Fault::new(Code::Io, what).hint("export EDITOR=nano");
    let editor = desk.editor.clone().unwrap_or_else(|| "vi".to_owned());
    let dir = runtime.join(format!("edit-{}", RequestId::random()));
    let file = dir.join("message.md");
    let kept = |error: std::io::Error| failed("no place for the message".to_owned()).cause(error);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(kept)?;
    let outcome = async {
        let mut options = std::fs::OpenOptions::new();
        let mut place =
            options.write(true).create_new(true).mode(0o600).open(&file).map_err(kept)?;
        place.write_all(text.as_bytes()).map_err(kept)?;
        drop(place);
        // As git does: the variable may have arguments, the path is one word.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("{editor} \"$1\""), "editor"]).arg(&file);
        let status =
            command.status().await.map_err(|error| failed("no shell".into()).cause(error))?;
        let shown = one_line(&editor, MAX_PATH_BYTES);
        match status.code() {
            Some(0) => {}
            Some(127) => return Err(failed(format!("there is no editor `{shown}`"))),
            _ => return Err(failed(format!("`{shown}` ended with {status}; nothing was changed"))),
        }
        let size = std::fs::metadata(&file).map_err(kept)?.len();
        if size > u64::try_from(MAX_PROMPT_BYTES).unwrap_or(u64::MAX) {
            return Err(failed(format!("{} is more than a message takes", bytes(size))));
        }
        let text = std::fs::read_to_string(&file).map_err(kept)?;
        Ok(text.trim_end_matches('\n').to_owned())
    };
    let outcome = outcome.await;
    // What was written is the person's; nothing of it stays.
    let _ = std::fs::remove_dir_all(&dir);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk(editor: &str) -> Desk {
        let home = PathBuf::new();
        Desk { home, editor: Some(editor.to_owned()), wayland: false, x11: false, tmux: false }
    }

    #[test]
    fn only_text_files_are_attached_and_refusals_have_numbers() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a b.txt"), "héllo").unwrap();
        std::fs::write(dir.path().join("binary"), [b'a', 0xff]).unwrap();
        std::fs::write(dir.path().join("large"), vec![b'x'; MAX_PROMPT_BYTES + 1]).unwrap();
        let attached = attach("~/a b.txt", dir.path()).unwrap();
        assert_eq!((attached.name(), attached.bytes()), ("a b.txt", 6));
        let refused = |name: &str| attach(&format!("~/{name}"), dir.path()).unwrap_err().message;
        assert!(refused("binary").contains("byte 1 is not UTF-8"), "{}", refused("binary"));
        assert!(refused("large").contains("1.0 MiB"), "{}", refused("large"));
        assert!(refused("").contains("is no file"));
        assert!(refused("none").contains("cannot be read"));
    }

    #[test]
    fn paths_are_completed_and_hidden_ones_only_when_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["note.txt", "notes", ".nothing", "other"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        std::fs::create_dir(dir.path().join("nodes")).unwrap();
        assert_eq!(complete("~/no", dir.path()), ["~/nodes/", "~/note.txt", "~/notes"]);
        assert_eq!(complete("~/.n", dir.path()), ["~/.nothing"]);
        assert!(complete("~/none/x", dir.path()).is_empty());
    }

    #[tokio::test]
    async fn an_editor_changes_the_message_and_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let script =
            "f() { test \"$(stat -c %a \"$1\")\" = 600 && printf ' world\\n' >> \"$1\"; }; f";
        let edited = edit("hello", &desk(script), dir.path()).await.unwrap();
        assert_eq!(edited, "hello world");
        let missing = edit("x", &desk("no-such-editor"), dir.path()).await.unwrap_err();
        assert!(missing.message.contains("no editor `no-such-editor`"), "{missing:?}");
        assert_eq!(missing.hints, ["export EDITOR=nano"]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn without_a_clipboard_the_way_over_the_terminal_is_said_with_what_to_do() {
        let told = copy("abc", &desk("vi")).await.unwrap();
        assert!(told.contains("terminal's clipboard") && told.contains("xclip"), "{told}");
        let long = copy(&"x".repeat(osc::MAX_BYTES + 1), &desk("vi")).await.unwrap_err();
        assert!(long.message.contains("73.2 KiB"), "{}", long.message);
    }
}
