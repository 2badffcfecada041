//! The first message of every connection. Its form never changes; what it carries may grow.

use serde::{Deserialize, Serialize};

use crate::fault::{Code, Fault};
use crate::ids::BuildId;

/// Protocol versions a program speaks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolRange {
    /// Lowest version.
    pub min: u32,
    /// Highest version.
    pub max: u32,
}

/// Versions between keeper and agent, named by what changed.
pub mod agent_protocol {
    use super::ProtocolRange;

    /// Hello, events, workers, generation.
    pub const V1_FIRST: u32 = 1;
    /// What this build speaks.
    pub const SPOKEN: ProtocolRange = ProtocolRange { min: V1_FIRST, max: V1_FIRST };
}

/// Versions between agent and guard or worker, named by what changed.
pub mod worker_protocol {
    use super::ProtocolRange;

    /// Hello, status stream, generation, stop.
    pub const V1_FIRST: u32 = 1;
    /// What this build speaks.
    pub const SPOKEN: ProtocolRange = ProtocolRange { min: V1_FIRST, max: V1_FIRST };
}

impl ProtocolRange {
    /// The version that two programs use: the highest that both speak.
    ///
    /// # Errors
    /// `VERSION_MISMATCH` with both ranges when they share none.
    pub fn agree(self, peer: Self) -> Result<u32, Fault> {
        let highest = self.max.min(peer.max);
        if highest >= self.min.max(peer.min) && peer.min <= peer.max {
            return Ok(highest);
        }
        let fault = Fault::new(
            Code::VersionMismatch,
            format!(
                "this rbee speaks protocol {} to {}, the other side {} to {}",
                self.min, self.max, peer.min, peer.max
            ),
        );
        Err(fault
            .hint("rbee down  # ends the other build's agent; the next command starts this one's"))
    }
}

/// Which of the programs answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The daemon of a hive.
    Agent,
    /// The parent of one engine.
    Guard,
    /// A process with a model.
    Worker,
    /// A role of a newer peer.
    #[serde(other)]
    Unknown,
}

/// Who answers, and what it can do: the reply to `GET /v1/hello`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Which program.
    pub role: Role,
    /// Protocol versions it speaks.
    pub protocol: ProtocolRange,
    /// What it was built from.
    pub build: BuildId,
    /// Release version; for people.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Abilities beyond the protocol version.
    #[serde(default)]
    pub features: Vec<String>,
}

/// What `rbee agent start` prints: the greeting of the agent that runs, and where it listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Who answers.
    #[serde(flatten)]
    pub hello: Hello,
    /// Path of its socket.
    pub socket: String,
}

/// The first line of `rbee agent attach`, behind its marker; then come the agent's own bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bridge {
    /// The bridge stands.
    Attached(Attached),
    /// There is none, and the program has ended.
    Fault(Fault),
}

/// What a bridge to an agent knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// Process id of the agent, where the operating system tells.
    pub pid: Option<i32>,
    /// Path of its socket.
    pub socket: String,
    /// What the bridge's program was built from; the agent's own greeting says what that was.
    pub build: BuildId,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_unknown_field_and_role_are_tolerated() {
        let text = r#"{"role":"broker","protocol":{"min":1,"max":9},"build":"0123456789abcdef",
            "version":"9.0.0","pid":1,"moon_phase":"full"}"#;
        let hello: Hello = serde_json::from_str(text).unwrap();
        assert_eq!(hello.role, Role::Unknown);
    }

    #[test]
    fn a_keeper_that_wants_only_the_greeting_finds_it_in_the_line_of_a_start() {
        let hello = Hello {
            role: Role::Agent,
            protocol: agent_protocol::SPOKEN,
            build: "0123456789abcdef".parse().unwrap(),
            version: "1.0.0".to_owned(),
            pid: 7,
            features: Vec::new(),
        };
        let started = Started { hello: hello.clone(), socket: "/run/agent.sock".to_owned() };
        let line = serde_json::to_string(&started).unwrap();
        assert_eq!(serde_json::from_str::<Hello>(&line).unwrap(), hello);
        assert_eq!(serde_json::from_str::<Started>(&line).unwrap(), started);
    }

    proptest! {
        #[test]
        fn agreement_is_symmetric_and_inside_both(
            a in 0u32..9, b in 0u32..9, c in 0u32..9, d in 0u32..9,
        ) {
            let left = ProtocolRange { min: a, max: b };
            let right = ProtocolRange { min: c, max: d };
            prop_assume!(a <= b && c <= d);
            let agreed = left.agree(right).ok();
            prop_assert_eq!(agreed, right.agree(left).ok());
            match agreed {
                Some(v) => prop_assert!(v >= a && v <= b && v >= c && v <= d),
                None => prop_assert!(b < c || d < a),
            }
        }
    }
}
