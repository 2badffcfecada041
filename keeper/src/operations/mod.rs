//! What can be done to hives and workers, whoever asks for it: a command or the TUI. Each operation
//! tells of its steps, and what came of it is a value that its caller shows.

pub mod add;
pub mod checks;
pub mod end;
pub mod examination;
pub mod install;
pub mod latency;
pub mod logs;
pub mod machine;
pub mod removal;
mod shell;
pub mod start;
pub mod why;

use wire::HiveName;

use crate::bootstrap::Witness;

/// Who hears of an operation while it is done: its steps, and in words what came of them.
pub trait Account: Witness {
    /// What came of the steps on a hive so far: the last one is done.
    fn tells(&self, hive: &HiveName, words: &str);
    /// Something beside the result.
    fn notes(&self, words: &str);
    /// Something that somebody should look at.
    fn warns(&self, words: &str);
}
