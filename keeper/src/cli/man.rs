//! The manual: pages generated from the command line itself and from the table of exit codes.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::CommandFactory;
use clap_mangen::Man;
use wire::{Code, Fault};

use crate::exit::TABLE;
use crate::failure::Failure;

/// Write the manual's pages into a directory.
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub struct Args {
    /// Where to.
    #[arg(long)]
    dir: PathBuf,
}

/// Does it.
///
/// # Errors
/// When the directory cannot be written.
pub fn run(args: &Args) -> Result<(), Failure> {
    for (name, text) in pages()? {
        let path = args.dir.join(name);
        std::fs::write(&path, text).map_err(|error| {
            Fault::new(Code::Io, format!("{} cannot be written", path.display())).cause(error)
        })?;
    }
    Ok(())
}

/// All pages: file name and text, the program's own first.
///
/// # Errors
/// `INTERNAL` when a page cannot be rendered.
pub fn pages() -> Result<Vec<(String, String)>, Fault> {
    let mut program = super::Cli::command();
    program.build();
    let mut pages = vec![("rbee.1".to_owned(), whole(&program)?)];
    for command in program.get_subcommands().filter(|command| !command.is_hide_set()) {
        pages.push((format!("rbee-{}.1", command.get_name()), page(command)?));
        for part in command.get_subcommands().filter(|part| !part.is_hide_set()) {
            let name = format!("rbee-{}-{}.1", command.get_name(), part.get_name());
            pages.push((name, page(part)?));
        }
    }
    Ok(pages)
}

fn page(command: &clap::Command) -> Result<String, Fault> {
    let command = command.clone().version(env!("CARGO_PKG_VERSION"));
    let mut text = Vec::new();
    Man::new(command)
        .date("")
        .render(&mut text)
        .map_err(|error| Fault::new(Code::Internal, "a page cannot be rendered").cause(error))?;
    String::from_utf8(text)
        .map_err(|error| Fault::new(Code::Internal, "a page is not UTF-8").cause(error))
}

fn whole(program: &clap::Command) -> Result<String, Fault> {
    let mut text = page(program)?;
    text.push_str(".SH \"EXIT STATUS\"\n");
    for row in TABLE {
        let words: Vec<&str> = row.codes.iter().map(Code::as_str).collect();
        let _ = write!(text, ".TP\n.B {}\n{}\n", row.exit.number(), row.meaning);
        if !words.is_empty() {
            let _ = writeln!(text, ".br\n{}", words.join(", "));
        }
    }
    text.push_str(FILES);
    Ok(text)
}

const FILES: &str = r".SH FILES
Directories follow the XDG Base Directory Specification; these are its defaults.
.TP
.I ~/.config/rbee/config.toml
The configuration. Without it /etc/rbee/config.toml, without that the defaults.
.TP
.I ~/.local/share/rbee/
The builds that agents run from, each with its SHA-256, and the demo model.
.TP
.I ~/.local/state/rbee/run/
Sockets and the records of running workers. Under /tmp when the path would be too long.
.TP
.I ~/.local/state/rbee/chat-history
The lines that were typed in chats.
.TP
.I ~/.local/state/rbee/log/
Logs.
.SH ENVIRONMENT
.TP
.B RBEE_CONFIG
The configuration file to read instead.
.TP
.B RBEE_LOG
Turns the log of this program on and says what goes into it: error, warn, info, debug, or a filter
such as keeper=debug,hyper=info. Prompts and answers are never in it.
.TP
.B NO_COLOR
No colours.
";
