//! The part of the configuration that an agent reads: `[agent]` and `[timings]`.

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::model_ref::ModelRef;

/// `[agent]` of `config.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentSettings {
    /// Directories that `file:` models must lie in, after symbolic links are resolved. Empty:
    /// every file that this user can read.
    pub model_roots: Vec<String>,
    /// Seconds without a request after which a worker is unloaded; -1 never, 0 at once.
    pub keep_alive_s: i64,
    /// Threads that a CPU worker computes with; absent: one for each core.
    pub threads: Option<u32>,
    /// Bytes of host memory that no worker may claim.
    pub reserve_ram_bytes: u64,
    /// Bytes of the disk that shall stay free; absent: the smaller of 10 GiB and a tenth of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserve_disk_bytes: Option<u64>,
    /// Bytes that a worker may take beyond one and a half times the need that it was admitted
    /// with, before the system ends it.
    pub worker_margin_bytes: u64,
    /// Hundredths of one processor that a worker may use, 250 for two and a half; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_cpu_percent: Option<u32>,
    /// Requests that may wait at one worker; one more is `QUEUE_FULL`.
    pub max_queue: usize,
    /// Whether agent and workers stay when the last keeper has gone.
    pub lifetime: Lifetime,
}

/// How long a hive's agent and workers live.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifetime {
    /// Models stay loaded for whoever comes next.
    #[default]
    Persistent,
    /// They end with the last keeper: at once when it says that it leaves, after `lease_ms` when it
    /// was cut off.
    Ephemeral,
}

impl Lifetime {
    /// Its word, in configurations and among an agent's features.
    pub fn word(self) -> &'static str {
        match self {
            Self::Persistent => "persistent",
            Self::Ephemeral => "ephemeral",
        }
    }
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            model_roots: Vec::new(),
            keep_alive_s: 30 * 60,
            threads: None,
            reserve_ram_bytes: 2 * 1024 * 1024 * 1024,
            reserve_disk_bytes: None,
            worker_margin_bytes: 1024 * 1024 * 1024,
            worker_cpu_percent: None,
            lifetime: Lifetime::Persistent,
            max_queue: limits::MAX_QUEUE,
        }
    }
}

impl AgentSettings {
    /// Bytes of host memory that a worker with `model` must leave free: none for the small model
    /// that every build carries.
    pub fn reserve_for(&self, model: &ModelRef) -> u64 {
        if *model == ModelRef::Demo { 0 } else { self.reserve_ram_bytes }
    }

    /// Bytes of a disk of `total_bytes` that shall stay free.
    pub fn reserve_of_disk(&self, total_bytes: u64) -> u64 {
        const MOST: u64 = 10 * 1024 * 1024 * 1024;
        self.reserve_disk_bytes.unwrap_or_else(|| MOST.min(total_bytes / 10))
    }

    /// Checks what the types do not say.
    ///
    /// # Errors
    /// The rule that is broken, with the key's name.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.keep_alive_s < -1 {
            return Err("agent.keep_alive_s is -1, 0 or a number of seconds");
        }
        if self.threads.is_some_and(|n| n == 0 || n > 1024) {
            return Err("agent.threads is a number from 1 to 1024");
        }
        if self.worker_cpu_percent.is_some_and(|n| n == 0 || n > limits::MAX_CPU_PERCENT) {
            return Err("agent.worker_cpu_percent is a number from 1 to 102400");
        }
        if !(1..=limits::MAX_QUEUE).contains(&self.max_queue) {
            return Err("agent.max_queue is a number from 1 to 512");
        }
        if self.model_roots.iter().any(|root| !root.starts_with('/')) {
            return Err("agent.model_roots has absolute paths only");
        }
        Ok(())
    }
}
