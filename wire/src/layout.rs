//! Where a hive keeps its sockets and files, as functions of the user's directories.
//!
//! Keeper and agent must find the same socket without asking each other, so the decision is here.

use crate::ids::{BuildId, WorkerId};
use crate::limits;

/// Bytes of the longest worker id that an agent makes up, so that socket paths can be planned.
pub const MAX_GENERATED_ID_BYTES: usize = 24;

/// The runtime directory (sockets, lock, workers' records): `<state>/run`, or a directory of this
/// user under `/tmp`, named for `state`, when a socket's path would exceed
/// [`limits::MAX_SOCKET_PATH_BYTES`]. `state` is the program's own state directory, for example
/// `/home/ada/.local/state/rbee`.
pub fn runtime_dir(state: &str, uid: u32) -> String {
    let preferred = format!("{state}/run");
    let longest = preferred.len() + "/w/".len() + MAX_GENERATED_ID_BYTES + "/e.sock".len();
    if longest <= limits::MAX_SOCKET_PATH_BYTES {
        preferred
    } else {
        format!("/tmp/rbee-{uid}/{:016x}", fnv1a(state))
    }
}

/// Tells one long path from another (FNV-1a, 64 bits). No secret: the directory is private.
fn fnv1a(text: &str) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    text.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

/// The agent's socket.
pub fn agent_socket(runtime: &str) -> String {
    format!("{runtime}/agent.sock")
}

/// The lock that the one agent of a hive and user holds for life.
pub fn agent_lock(runtime: &str) -> String {
    format!("{runtime}/agent.lock")
}

/// The directory that holds one directory a worker.
pub fn workers_dir(runtime: &str) -> String {
    format!("{runtime}/w")
}

/// One worker's directory: spec, record, sockets, stderr.
pub fn worker_dir(runtime: &str, id: &WorkerId) -> String {
    format!("{runtime}/w/{id}")
}

/// What the engine of a worker that has ended wrote on its standard error; the part before it has
/// `.1` behind its name.
pub fn ended_log(runtime: &str, id: &WorkerId) -> String {
    format!("{runtime}/ended/{id}.log")
}

/// Where a build of the program is installed; `data` is the program's own data directory.
pub fn installed_program(data: &str, build: &BuildId, target: &str) -> String {
    format!("{data}/{build}/{target}/rbee")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_home_moves_the_sockets_to_tmp() {
        assert_eq!(
            runtime_dir("/home/ada/.local/state/rbee", 7),
            "/home/ada/.local/state/rbee/run"
        );
        let long = format!("/home/{}/.local/state/rbee", "x".repeat(60));
        assert!(runtime_dir(&long, 7).starts_with("/tmp/rbee-7/"));
        let other = format!("/home/{}/.local/state/rbee", "y".repeat(60));
        assert_ne!(runtime_dir(&long, 7), runtime_dir(&other, 7), "two homes are two hives");
        let id: WorkerId = "a".repeat(MAX_GENERATED_ID_BYTES).parse().unwrap();
        for state in ["/home/ada/.local/state/rbee", long.as_str()] {
            let socket = format!("{}/e.sock", worker_dir(&runtime_dir(state, u32::MAX), &id));
            assert!(socket.len() <= limits::MAX_SOCKET_PATH_BYTES, "{socket}");
        }
    }
}
