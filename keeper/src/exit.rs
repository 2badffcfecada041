//! Exit codes, and which fault has which: one table for the program, its manual and its tests.

use wire::Code;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// All was done.
    Ok = 0,
    /// Something failed that has no code of its own.
    Failure = 1,
    /// The command line asks for something that cannot be.
    Usage = 2,
    /// The configuration file is wrong.
    Config = 3,
    /// The hive or its agent does not answer.
    Unreachable = 10,
    /// The hive does not accept this user, or is not the hive it was.
    Ssh = 11,
    /// No build fits, or the two sides are too far apart.
    Version = 12,
    /// The model is not there, or cannot be used.
    Model = 20,
    /// It does not fit, or the device is not there.
    DoesNotFit = 21,
    /// The worker ended in the middle.
    WorkerCrashed = 22,
    /// Too many requests wait already.
    QueueFull = 23,
    /// The prompt is longer than the context.
    ContextOverflow = 24,
    /// It took too long.
    Deadline = 124,
    /// Ctrl-C.
    Interrupted = 130,
    /// The reader of standard output left.
    StdoutClosed = 141,
}

/// One exit code: what it means, and the faults that end with it.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The code.
    pub exit: Exit,
    /// What it means, for the manual.
    pub meaning: &'static str,
    /// The faults that end with it.
    pub codes: &'static [Code],
}

/// Every exit code of the program, each once; every fault code, each once.
pub const TABLE: &[Row] = &[
    Row { exit: Exit::Ok, meaning: "All was done.", codes: &[] },
    Row {
        exit: Exit::Failure,
        meaning: "Something failed that has no exit status of its own.",
        codes: &[
            Code::NotFound,
            Code::RateLimited,
            Code::ProtocolError,
            Code::WorkerNotFound,
            Code::WorkerNotReady,
            Code::ShuttingDown,
            Code::DiskFull,
            Code::AccessDenied,
            Code::DownloadFailed,
            Code::Io,
            Code::Internal,
        ],
    },
    Row {
        exit: Exit::Usage,
        meaning: "The command line asks for something that cannot be.",
        codes: &[Code::InvalidArgument, Code::TooLarge],
    },
    Row {
        exit: Exit::Config,
        meaning: "The configuration file cannot be read or is wrong.",
        codes: &[Code::InvalidConfig],
    },
    Row {
        exit: Exit::Unreachable,
        meaning: "The hive is not known, does not answer, or its agent does not start.",
        codes: &[Code::HiveUnreachable, Code::HiveNotFound, Code::AgentFailed],
    },
    Row {
        exit: Exit::Ssh,
        meaning: "The SSH server accepted no identity, or its host key is not the recorded one.",
        codes: &[Code::AuthFailed, Code::HostKeyChanged, Code::HostKeyUnknown],
    },
    Row {
        exit: Exit::Version,
        meaning: "No build of rbee fits the hive, or both sides share no protocol version.",
        codes: &[Code::NoBundle, Code::VersionMismatch],
    },
    Row {
        exit: Exit::Model,
        meaning: "The model is not there, is damaged, or is of a kind that cannot be run.",
        codes: &[
            Code::ModelNotFound,
            Code::ModelCorrupt,
            Code::ModelUnsupported,
            Code::ChecksumMismatch,
            Code::TemplateFailed,
        ],
    },
    Row {
        exit: Exit::DoesNotFit,
        meaning: "The model does not fit into memory, or the device is not there.",
        codes: &[
            Code::InsufficientVram,
            Code::InsufficientRam,
            Code::OutOfMemory,
            Code::BackendUnavailable,
        ],
    },
    Row {
        exit: Exit::WorkerCrashed,
        meaning: "The worker ended while it was needed.",
        codes: &[Code::WorkerCrashed],
    },
    Row {
        exit: Exit::QueueFull,
        meaning: "Too many requests wait for the worker already.",
        codes: &[Code::QueueFull],
    },
    Row {
        exit: Exit::ContextOverflow,
        meaning: "The prompt and the tokens asked for do not fit the context.",
        codes: &[Code::ContextOverflow],
    },
    Row {
        exit: Exit::Deadline,
        meaning: "The deadline passed, or no token or no byte came for too long.",
        codes: &[Code::DeadlineExceeded, Code::Stalled, Code::DownloadTimeout],
    },
    Row {
        exit: Exit::Interrupted,
        meaning: "Interrupted, by Ctrl-C or a signal to end.",
        codes: &[Code::Cancelled],
    },
    Row {
        exit: Exit::StdoutClosed,
        meaning: "The reader of standard output closed it.",
        codes: &[],
    },
];

impl Exit {
    /// The exit code that a fault ends with; a code of a newer peer is a plain failure.
    pub fn of(code: &Code) -> Self {
        TABLE.iter().find(|row| row.codes.contains(code)).map_or(Self::Failure, |row| row.exit)
    }

    /// The number that the shell sees.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        exit.number().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_code_stands_in_exactly_one_row() {
        for code in Code::ALL {
            let rows = TABLE.iter().filter(|row| row.codes.contains(code)).count();
            assert_eq!(rows, 1, "{code:?}");
        }
    }

    #[test]
    fn the_numbers_are_the_documented_ones_each_once_in_order() {
        let numbers: Vec<u8> = TABLE.iter().map(|row| row.exit.number()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 10, 11, 12, 20, 21, 22, 23, 24, 124, 130, 141]);
    }

    #[test]
    fn a_code_of_a_newer_peer_is_a_plain_failure() {
        assert_eq!(Exit::of(&Code::Unknown("MOON_IN_THE_WAY".into())), Exit::Failure);
    }
}
