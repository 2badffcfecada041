//! What goes to standard error: log lines as JSON, and the fault that ended the process.

use std::io::Write;

use serde::{Deserialize, Serialize};
use wire::{Fault, ndjson};

/// The last line of a process that failed.
#[derive(Debug, Serialize, Deserialize)]
pub struct FaultLine {
    /// Why it failed.
    pub fault: Fault,
}

/// Sends every log line of this process to standard error, one JSON object a line. A second call
/// changes nothing.
pub fn start() {
    let lines = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::INFO)
        .with_writer(std::io::stderr)
        .finish();
    // An embedding program that logs elsewhere has already said where.
    let _ = tracing::subscriber::set_global_default(lines);
}

/// Writes `fault` as the line that a guard looks for.
pub fn write_fault(to: &mut impl Write, fault: &Fault) -> std::io::Result<()> {
    let line = ndjson::encode(&FaultLine { fault: fault.clone() })
        .map_err(|fault| std::io::Error::other(fault.message))?;
    to.write_all(&line)?;
    to.flush()
}
