//! What the person is shown when something failed: the sentence, its causes, what to paste next.

use std::io::{self, Write};

use wire::{Code, Fault, limits, text};

use crate::exit::Exit;
use crate::last_words;
use crate::output::style::Style;

/// A fault at the keeper's edge, with the exit code that it ends with.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// What went wrong.
    pub fault: Fault,
    /// How the program ends.
    pub exit: Exit,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let exit = Exit::of(&fault.code);
        Self { fault, exit }
    }
}

impl Failure {
    /// A command line that cannot be.
    pub fn usage(message: impl AsRef<str>) -> Self {
        Fault::new(Code::InvalidArgument, message).into()
    }

    /// The person ended it. Nothing is shown.
    pub fn interrupted() -> Self {
        Fault::new(Code::Cancelled, "interrupted").into()
    }

    /// The reader of standard output left. Nothing is shown.
    pub fn stdout_closed() -> Self {
        let fault = Fault::new(Code::Cancelled, "standard output was closed");
        Self { fault, exit: Exit::StdoutClosed }
    }

    /// What a failed write to standard output means.
    pub fn of_stdout(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::stdout_closed();
        }
        Fault::new(Code::Io, "standard output cannot be written").cause(error).into()
    }

    /// Adds a command to paste next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.fault = self.fault.hint(hint);
        self
    }

    /// Whether the person knows already and needs no words.
    pub fn is_silent(&self) -> bool {
        matches!(self.exit, Exit::Interrupted | Exit::StdoutClosed)
    }

    /// Writes it for a person. Everything in a fault is untrusted, so each part is one clean line.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&self, to: &mut dyn Write, style: &Style) -> io::Result<()> {
        if self.is_silent() {
            return Ok(());
        }
        let line = |text: &str| text::one_line(text, limits::MAX_FAULT_MESSAGE_BYTES);
        writeln!(to, "{} {}", style.error("error:"), line(&self.fault.message))?;
        // A cause may be a line of a log; those that only tell how things went explain nothing.
        for cause in self.fault.causes.iter().filter_map(|cause| last_words::readable(cause)) {
            writeln!(to, "  {}", style.muted(&line(&cause)))?;
        }
        for hint in &self.fault.hints {
            writeln!(to, "{} {}", style.hint("hint:"), line(hint))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(failure: &Failure) -> String {
        let mut bytes = Vec::new();
        failure.write(&mut bytes, &Style::plain()).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn shows_what_why_and_what_next_on_lines_of_their_own() {
        let fault = Fault::new(Code::ModelNotFound, "no such file")
            .cause("it is absent\n\u{1b}[2J")
            .hint("rbee run -m demo");
        assert_eq!(
            shown(&fault.into()),
            "error: no such file\n  it is absent  [2J\nhint: rbee run -m demo\n"
        );
    }

    #[test]
    fn what_the_person_did_is_not_told_to_the_person() {
        assert_eq!(shown(&Failure::interrupted()), "");
        assert_eq!(shown(&Failure::stdout_closed()), "");
        let closed = Failure::of_stdout(&io::ErrorKind::BrokenPipe.into());
        assert_eq!(closed.exit.number(), 141);
    }
}
