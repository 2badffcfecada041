//! What a process wrote before it ended, as far as it helps a person.

use serde::Deserialize;
use wire::Fault;

/// Lines that are shown.
const SHOWN: usize = 6;

/// A line of our own programs' logs.
#[derive(Deserialize)]
struct LogLine {
    level: String,
    fields: Fields,
}

#[derive(Deserialize)]
struct Fields {
    message: String,
}

/// The last line of a program of ours that failed.
#[derive(Deserialize)]
struct FaultLine {
    fault: Fault,
}

/// The last lines, oldest first: those of our own logs only when they warn, others as they are.
pub fn of(stderr_tail: &str) -> Vec<String> {
    let mut lines: Vec<String> =
        stderr_tail.lines().rev().filter_map(readable).take(SHOWN).collect();
    lines.reverse();
    lines
}

/// A line for a person; none when it only tells how things went.
pub fn readable(line: &str) -> Option<String> {
    let line = line.trim();
    if let Ok(log) = serde_json::from_str::<LogLine>(line) {
        return matches!(log.level.as_str(), "WARN" | "ERROR").then_some(log.fields.message);
    }
    if let Ok(last) = serde_json::from_str::<FaultLine>(line) {
        return Some(last.fault.message);
    }
    (!line.is_empty()).then(|| line.to_owned())
}

/// The fault that a program of ours wrote as its last line, when it did.
pub fn fault(stderr_tail: &str) -> Option<Fault> {
    let last = stderr_tail.lines().rev().find(|line| !line.trim().is_empty())?;
    serde_json::from_str::<FaultLine>(last).ok().map(|last| last.fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_well_is_not_a_cause() {
        let tail = concat!(
            "{\"timestamp\":\"t\",\"level\":\"INFO\",\"fields\":{\"message\":\"serving\"}}\n",
            "{\"timestamp\":\"t\",\"level\":\"ERROR\",\"fields\":{\"message\":\"no luck\"}}\n",
            "\nthread main panicked\n",
            "{\"fault\":{\"code\":\"MODEL_CORRUPT\",\"message\":\"half a file\"}}\n",
        );
        assert_eq!(of(tail), ["no luck", "thread main panicked", "half a file"]);
    }

    #[test]
    fn only_the_last_lines_are_shown() {
        let tail = (0..20).fold(String::new(), |text, n| format!("{text}line {n}\n"));
        let lines = of(&tail);
        assert_eq!((lines.len(), lines.last().unwrap().as_str()), (SHOWN, "line 19"));
    }
}
