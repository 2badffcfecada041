//! What runs short on this hive, looked at all the time and told when it changes.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use wire::event::{Resource, Warning};
use wire::settings::AgentSettings;

use crate::dirs::Dirs;
use crate::inventory;
use crate::platform;

/// A figure that moved by less than this part of itself is no news.
const NEWS_DIVISOR: u64 = 10;

/// What runs short, for everyone who tells a keeper.
pub type Shortages = Arc<watch::Sender<Vec<Warning>>>;

/// Looks again every `period`, for as long as the agent runs.
pub async fn follow(shortages: Shortages, dirs: Dirs, settings: AgentSettings, period: Duration) {
    let mut again = tokio::time::interval(period);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        again.tick().await;
        let (dirs, settings) = (dirs.clone(), settings.clone());
        // A network's file system may take its time.
        let seen = tokio::task::spawn_blocking(move || look(&dirs, &settings)).await;
        let Ok(seen) = seen else { continue };
        shortages.send_if_modified(|known| {
            let is_news = is_news(known, &seen);
            if is_news {
                for warning in &seen {
                    tracing::warn!("{}", warning.sentence());
                }
                *known = seen;
            }
            is_news
        });
    }
}

/// What runs short now.
pub fn look(dirs: &Dirs, settings: &AgentSettings) -> Vec<Warning> {
    let memory = inventory::available_bytes().map(|free| (free, settings.reserve_ram_bytes));
    let memory = memory.and_then(|(free, reserve)| short(Resource::Memory, free, reserve, None));
    let disks = disks(dirs).into_iter().filter_map(|dir| {
        let disk = platform::disk(&dir).ok()?;
        let reserve = settings.reserve_of_disk(disk.total_bytes);
        short(Resource::Disk, disk.free_bytes, reserve, Some(dir))
    });
    memory.into_iter().chain(disks).collect()
}

fn short(
    resource: Resource,
    free_bytes: u64,
    reserve_bytes: u64,
    dir: Option<PathBuf>,
) -> Option<Warning> {
    let path = dir.map(|dir| dir.to_string_lossy().into_owned());
    (free_bytes < reserve_bytes).then_some(Warning { resource, free_bytes, reserve_bytes, path })
}

/// A directory on each disk that rbee writes to: models, then logs, then sockets and records.
fn disks(dirs: &Dirs) -> Vec<PathBuf> {
    let mut seen = Vec::new();
    let mut found = Vec::new();
    for dir in [dirs.data.as_path(), dirs.log.as_path(), Path::new(&dirs.runtime)] {
        let Ok(device) = std::fs::metadata(dir).map(|meta| meta.dev()) else { continue };
        if !seen.contains(&device) {
            seen.push(device);
            found.push(dir.to_owned());
        }
    }
    found
}

/// Whether `seen` says something that `known` does not: another shortage, or a figure that moved.
fn is_news(known: &[Warning], seen: &[Warning]) -> bool {
    let moved = |(a, b): (&Warning, &Warning)| {
        let far = a.free_bytes.abs_diff(b.free_bytes) > a.free_bytes / NEWS_DIVISOR;
        (a.resource, &a.path) != (b.resource, &b.path) || far
    };
    known.len() != seen.len() || known.iter().zip(seen).any(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_figure_that_trembles_is_no_news_and_a_new_shortage_is() {
        let memory = |free| short(Resource::Memory, free, 2 * GIB, None).unwrap();
        let disk = short(Resource::Disk, GIB, 2 * GIB, Some("/d".into())).unwrap();
        assert!(!is_news(&[memory(GIB)], &[memory(GIB + GIB / 20)]));
        assert!(is_news(&[memory(GIB)], &[memory(GIB / 2)]));
        assert!(is_news(&[memory(GIB)], &[memory(GIB), disk.clone()]));
        assert!(is_news(&[memory(GIB)], &[disk]));
        assert!(is_news(&[memory(GIB)], &[]));
        assert_eq!(short(Resource::Memory, 2 * GIB, 2 * GIB, None), None);
    }

    #[test]
    fn directories_of_one_disk_are_one() {
        let home = tempfile::tempdir().unwrap();
        let dir = |name: &str| {
            let dir = home.path().join(name);
            std::fs::create_dir(&dir).unwrap();
            dir
        };
        let dirs = Dirs {
            data: dir("data"),
            log: dir("log"),
            runtime: dir("run").to_str().unwrap().to_owned(),
            config: home.path().join("config.toml"),
        };
        assert_eq!(disks(&dirs), std::slice::from_ref(&dirs.data));
        let all = AgentSettings {
            reserve_ram_bytes: u64::MAX,
            reserve_disk_bytes: Some(u64::MAX),
            ..AgentSettings::default()
        };
        let resources: Vec<_> = look(&dirs, &all).iter().map(|warning| warning.resource).collect();
        assert_eq!(resources, [Resource::Memory, Resource::Disk]);
        let none = AgentSettings {
            reserve_ram_bytes: 0,
            reserve_disk_bytes: Some(0),
            ..AgentSettings::default()
        };
        assert_eq!(look(&dirs, &none), []);
    }
}
