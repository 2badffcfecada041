//! A keeper that watches hives: how they stand, and since when.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::wait_until;

/// One change of how a hive stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    hive: String,
    standing: String,
    at: Instant,
}

/// `rbee ps --watch --json`, and what it said.
#[derive(Debug)]
pub struct Watcher {
    child: Child,
    began: Instant,
    changes: Arc<Mutex<Vec<Change>>>,
}

impl Watcher {
    /// Starts it.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(mut command: Command) -> Self {
        let began = Instant::now();
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a keeper");
        let changes = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let heard = Arc::clone(&changes);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let line: Value = serde_json::from_str(&line).unwrap_or_default();
                let (Some(hive), Some(standing)) = (text(&line, "hive"), text(&line, "standing"))
                else {
                    continue;
                };
                let change = Change { hive, standing, at: Instant::now() };
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(change);
            }
        });
        Self { child, began, changes }
    }

    /// Waits until a hive is online for the first time; when it was.
    #[track_caller]
    pub fn online(&self, hive: &str, bound: Duration) -> Instant {
        self.until(hive, "online", self.began, bound)
    }

    /// How a hive stands.
    pub fn standing(&self, hive: &str) -> Option<String> {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.iter().rev().find(|change| change.hive == hive).map(|last| last.standing.clone())
    }

    /// Waits until a hive stands so, since a time; when it did.
    #[track_caller]
    pub fn until(&self, hive: &str, standing: &str, since: Instant, bound: Duration) -> Instant {
        wait_until(&format!("{hive} is {standing}"), bound, || self.first(hive, standing, since))
    }

    /// How often a hive stood otherwise than `online` since a time.
    pub fn lapses(&self, hive: &str, since: Instant) -> usize {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let is_lapse = |c: &&Change| c.hive == hive && c.at >= since && c.standing != "online";
        changes.iter().filter(is_lapse).count()
    }

    /// When a hive first stood so after `since`.
    pub fn first(&self, hive: &str, standing: &str, since: Instant) -> Option<Instant> {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |c: &&Change| c.hive == hive && c.standing == standing && c.at >= since;
        changes.iter().find(is_it).map(|change| change.at)
    }

    /// How a hive stood at a time.
    pub fn stood(&self, hive: &str, at: Instant) -> Option<String> {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let before = changes.iter().rev().find(|c| c.hive == hive && c.at <= at);
        before.map(|change| change.standing.clone())
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

fn text(line: &Value, key: &str) -> Option<String> {
    Some(line.get(key)?.as_str()?.to_owned())
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Its end ends what runs in the lab for it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
