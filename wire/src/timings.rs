//! Every wait of the system in one value, so that a test can scale them.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

/// How long things may take. In the configuration each is `<field>_ms`; all are milliseconds there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timings {
    /// From asking for a local agent to its socket's first answer.
    #[serde(rename = "agent_start_ms", with = "millis")]
    pub agent_start: Duration,
    /// One attempt to connect to an SSH server, from the first packet to the accepted identity;
    /// waiting for a person's answer does not count.
    #[serde(rename = "ssh_connect_ms", with = "millis")]
    pub ssh_connect: Duration,
    /// How long `run` waits for a hive that it could do without.
    #[serde(rename = "hive_wait_ms", with = "millis")]
    pub hive_wait: Duration,
    /// First pause before a lost hive is tried again; it doubles from there.
    #[serde(rename = "reconnect_first_ms", with = "millis")]
    pub reconnect_first: Duration,
    /// Longest pause before a lost hive is tried again.
    #[serde(rename = "reconnect_most_ms", with = "millis")]
    pub reconnect_most: Duration,
    /// Telemetry to a keeper that watches.
    #[serde(rename = "telemetry_ms", with = "millis")]
    pub telemetry: Duration,
    /// Heartbeat on every status or event stream.
    #[serde(rename = "heartbeat_ms", with = "millis")]
    pub heartbeat: Duration,
    /// Silence after which a peer is stale and gets nothing new.
    #[serde(rename = "stale_ms", with = "millis")]
    pub stale: Duration,
    /// Silence after which a peer's connection is dropped or its process replaced.
    #[serde(rename = "dead_ms", with = "millis")]
    pub dead: Duration,
    /// A load that makes no progress for this long is ended.
    #[serde(rename = "load_stall_ms", with = "millis")]
    pub load_stall: Duration,
    /// An active request without a token for this long fails.
    #[serde(rename = "token_stall_ms", with = "millis")]
    pub token_stall: Duration,
    /// How long `stop` lets active requests finish.
    #[serde(rename = "drain_ms", with = "millis")]
    pub drain: Duration,
    /// How long `down` lets active requests finish.
    #[serde(rename = "down_drain_ms", with = "millis")]
    pub down_drain: Duration,
    /// First step of the stop ladder: the worker is asked.
    #[serde(rename = "stop_ask_ms", with = "millis")]
    pub stop_ask: Duration,
    /// Second step: SIGTERM to its process group; then SIGKILL.
    #[serde(rename = "stop_term_ms", with = "millis")]
    pub stop_term: Duration,
    /// First pause before a worker that ended by itself is started again; it doubles from there.
    #[serde(rename = "restart_first_ms", with = "millis")]
    pub restart_first: Duration,
    /// A worker that served this long begins to count its restarts anew.
    #[serde(rename = "restart_reset_ms", with = "millis")]
    pub restart_reset: Duration,
    /// Failures of one model on one device within this time open its breaker.
    #[serde(rename = "breaker_window_ms", with = "millis")]
    pub breaker_window: Duration,
    /// A download without a byte for this long is begun again where it was.
    #[serde(rename = "download_stall_ms", with = "millis")]
    pub download_stall: Duration,
    /// First pause before a download goes on that failed; it doubles from there.
    #[serde(rename = "download_retry_ms", with = "millis")]
    pub download_retry: Duration,
    /// How long a cancelled request may hold its slot before the keeper stops waiting for the ack.
    #[serde(rename = "cancel_ack_ms", with = "millis")]
    pub cancel_ack: Duration,
    /// A guard that hears no agent for this long ends its engine.
    #[serde(rename = "orphan_timeout_ms", with = "millis")]
    pub orphan_timeout: Duration,
    /// An ephemeral agent without a keeper for this long ends, and its workers with it.
    #[serde(rename = "lease_ms", with = "millis")]
    pub lease: Duration,
    /// An agent with no worker and no connection for this long exits.
    #[serde(rename = "idle_exit_ms", with = "millis")]
    pub idle_exit: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            agent_start: secs(10),
            ssh_connect: secs(10),
            hive_wait: Duration::from_millis(1500),
            reconnect_first: secs(1),
            reconnect_most: secs(30),
            telemetry: secs(1),
            heartbeat: secs(3),
            stale: secs(10),
            dead: secs(30),
            load_stall: secs(30),
            token_stall: secs(60),
            drain: secs(30),
            down_drain: secs(5),
            stop_ask: secs(5),
            stop_term: secs(5),
            restart_first: secs(1),
            restart_reset: secs(5 * 60),
            breaker_window: secs(5 * 60),
            download_stall: secs(60),
            download_retry: Duration::from_millis(100),
            cancel_ack: secs(5),
            orphan_timeout: secs(5 * 60),
            lease: secs(30),
            idle_exit: secs(15 * 60),
        }
    }
}

/// Reads the times of a record that any build may have written: what this one does not know is left
/// out, while a person's configuration is refused for it.
///
/// # Errors
/// Those of the format, and for a time that is none.
pub fn of_any_build<'de, D: Deserializer<'de>>(from: D) -> Result<Timings, D::Error> {
    use serde::de::Error;
    let mut table = serde_json::Map::deserialize(from)?;
    let known = serde_json::to_value(Timings::default()).map_err(D::Error::custom)?;
    table.retain(|name, _| known.get(name).is_some());
    serde_json::from_value(table.into()).map_err(D::Error::custom)
}

/// `Duration` as whole milliseconds. Zero is refused: a wait of nothing is a defect, not a setting.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::limits;

    pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        match u64::deserialize(from)? {
            ms @ 1..=limits::MAX_WAIT_MS => Ok(Duration::from_millis(ms)),
            _ => Err(serde::de::Error::custom("a time is 1 to 86400000 milliseconds")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_table_keeps_the_other_defaults() {
        let timings: Timings = serde_json::from_str(r#"{"heartbeat_ms": 30}"#).unwrap();
        assert_eq!(timings.heartbeat, Duration::from_millis(30));
        assert_eq!(timings.stale, Timings::default().stale);
    }

    #[test]
    fn zero_and_unknown_times_are_refused() {
        assert!(serde_json::from_str::<Timings>(r#"{"heartbeat_ms": 0}"#).is_err());
        assert!(serde_json::from_str::<Timings>(r#"{"hartbeat_ms": 1}"#).is_err());
    }
}
