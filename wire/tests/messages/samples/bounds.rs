//! Samples of what bounds a worker, who says so, and what runs short on a hive.

use wire::event::{Resource, Warning};
use wire::memory::{Containment, Limit, LimitBy, Wanted};
use wire::settings::AgentSettings;

pub fn wanted() -> Wanted {
    Wanted { memory_bytes: Some(5 << 30), data_bytes: Some(8 << 30), cpu_percent: Some(250) }
}

pub fn limit() -> Limit {
    Limit { bytes: Some(5 << 30), by: LimitBy::Cgroup2, cpu_percent: Some(250) }
}

pub fn warnings() -> Vec<Warning> {
    let (free_bytes, reserve_bytes) = (1 << 30, 2 << 30);
    let short = |resource, path| Warning { resource, free_bytes, reserve_bytes, path };
    vec![short(Resource::Memory, None), short(Resource::Disk, Some("/data".into()))]
}

pub fn containment() -> Containment {
    let (by, why) = (LimitBy::Rlimit, vec!["no control group may be made".into()]);
    Containment { by, why, hint: Some("sudo true".into()) }
}

pub fn agent_settings() -> AgentSettings {
    AgentSettings {
        threads: Some(8),
        model_roots: vec!["/models".into()],
        reserve_disk_bytes: Some(1 << 30),
        worker_cpu_percent: Some(250),
        ..Default::default()
    }
}
