//! How long a soak takes, how much shorter its waits are, and what is done next.

use std::fmt;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rbee_tests::procs::Role;
use serde_json::Value;
use wire::Timings;

/// What says how long: `minutes=60 seed=7 scale=1`, in any order; scripts/soak writes it.
const VARIABLE: &str = "RBEE_SOAK";
/// Steps after which everything is healed and looked at; fewer when there is little time.
const STEPS_BETWEEN_CALMS: [u64; 2] = [25, 7];
/// The hives. The agent of the last one is never killed and never told to end before the end: its
/// memory is what must not grow.
pub const HIVES: [&str; 3] = ["a", "b", "c"];
/// Which of them has the steady agent.
pub const STEADY: usize = 2;
/// Waits that bound how long a busy machine may take, and so are never shorter.
const UNSCALED: [&str; 3] = ["agent_start_ms", "ssh_connect_ms", "cancel_ack_ms"];

/// How long, by which seed, and how much faster than real.
#[derive(Debug, Clone)]
pub struct Length {
    /// How long.
    pub time: Duration,
    /// What is done is chosen by it.
    pub seed: u64,
    /// Every wait of the product is that much shorter.
    pub scale: u32,
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.time.as_secs_f64() / 60.0;
        write!(f, "{minutes:.1} minutes, seed {}, waits of 1/{}", self.seed, self.scale)
    }
}

impl Length {
    /// What the environment asks for; else short, as part of the suite.
    pub fn wanted() -> Self {
        let mut length = Self { time: Duration::from_secs(75), seed: 7, scale: 4 };
        let text = std::env::var_os(VARIABLE).unwrap_or_default();
        for word in text.to_string_lossy().split_whitespace() {
            let (name, value) = word.split_once('=').expect("NAME=NUMBER");
            let number: u64 = value.parse().expect("a number");
            match name {
                "minutes" => length.time = Duration::from_secs(number * 60),
                "seed" => length.seed = number,
                "scale" => length.scale = u32::try_from(number).expect("a scale"),
                _ => panic!("{VARIABLE} says minutes, seed and scale, not {name}"),
            }
        }
        assert!(length.scale > 0, "a scale of 1 is real time");
        length
    }

    /// The product's waits in this soak.
    pub fn timings(&self) -> Timings {
        let mut table = serde_json::to_value(Timings::default()).expect("JSON");
        for (name, value) in table.as_object_mut().expect("a table") {
            if !UNSCALED.contains(&name.as_str()) {
                let ms = value.as_u64().expect("milliseconds") / u64::from(self.scale);
                *value = Value::from(ms.max(1));
            }
        }
        serde_json::from_value(table).expect("timings")
    }

    /// Steps after which everything is healed and looked at.
    pub fn steps_between_calms(&self) -> u64 {
        let [many, few] = STEPS_BETWEEN_CALMS;
        if self.time < Duration::from_secs(5 * 60) { few } else { many }
    }

    /// A time of the soak's own, as short as the product's waits.
    pub fn scaled(&self, time: Duration) -> Duration {
        time / self.scale
    }
}

/// What may happen to a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ailment {
    /// Unplugged.
    Cut,
    /// The host's firewall drops everything.
    Dropped,
    /// The host's firewall resets what comes.
    Rejected,
    /// Half a second, give or take.
    Slow,
    /// Three of ten packets are lost.
    Lossy,
    /// 10 KB/s.
    Narrow,
    /// The SSH server is gone, and all its connections.
    NoServer,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ask a hive something.
    Ask { hive: usize, endless: bool },
    /// Ctrl-C on a request.
    Interrupt,
    /// SIGKILL of a request's keeper.
    KillKeeper,
    /// SIGKILL of a part of a hive.
    Kill { hive: usize, role: Role },
    /// Something happens to a line, for a while.
    Ail { hive: usize, ailment: Ailment, time: Duration },
    /// The engine or the agent stands still, for a while.
    Freeze { hive: usize, role: Role, time: Duration },
    /// `worker stop --all` of one hive.
    StopWorkers { hive: usize, now: bool },
    /// `down` of one hive.
    Down { hive: usize },
    /// `ps` of all.
    Look,
}

impl Action {
    /// Its word in the figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ask { endless: false, .. } => "asked",
            Self::Ask { endless: true, .. } => "asked for much",
            Self::Interrupt => "interrupted",
            Self::KillKeeper => "keeper killed",
            Self::Kill { role: Role::Agent, .. } => "agent killed",
            Self::Kill { role: Role::Guard, .. } => "guard killed",
            Self::Kill { .. } => "worker killed",
            Self::Ail { ailment: Ailment::Cut, .. } => "cable cut",
            Self::Ail { ailment: Ailment::Dropped, .. } => "packets dropped",
            Self::Ail { ailment: Ailment::Rejected, .. } => "connections reset",
            Self::Ail { ailment: Ailment::Slow, .. } => "line slow",
            Self::Ail { ailment: Ailment::Lossy, .. } => "line lossy",
            Self::Ail { ailment: Ailment::Narrow, .. } => "line narrow",
            Self::Ail { ailment: Ailment::NoServer, .. } => "sshd ended",
            Self::Freeze { role: Role::Agent, .. } => "agent frozen",
            Self::Freeze { .. } => "worker frozen",
            Self::StopWorkers { .. } => "workers stopped",
            Self::Down { .. } => "down",
            Self::Look => "looked",
        }
    }

    /// Chosen by weight. What it is about is another draw, so that a change of one weight does not
    /// change everything that follows.
    pub fn choose(rng: &mut StdRng, length: &Length) -> Self {
        let hive = rng.random_range(0..HIVES.len());
        let mortal = rng.random_range(0..STEADY);
        let time = length.scaled(Duration::from_millis(rng.random_range(500..45_000)));
        let now = rng.random_bool(0.5);
        match rng.random_range(0..100) {
            0..34 => Self::Ask { hive, endless: false },
            34..52 => Self::Ask { hive, endless: true },
            52..57 => Self::Interrupt,
            57..62 => Self::KillKeeper,
            62..66 => Self::Kill { hive, role: Role::Engine },
            66..68 => Self::Kill { hive, role: Role::Guard },
            68..72 => Self::Kill { hive: mortal, role: Role::Agent },
            72..87 => Self::Ail { hive, ailment: ailment(rng), time },
            87..89 => Self::Freeze { hive, role: Role::Engine, time },
            89..90 => Self::Freeze { hive: mortal, role: Role::Agent, time },
            90..94 => Self::StopWorkers { hive, now },
            94..96 => Self::Down { hive: mortal },
            _ => Self::Look,
        }
    }
}

fn ailment(rng: &mut StdRng) -> Ailment {
    const ALL: [Ailment; 7] = [
        Ailment::Cut,
        Ailment::Dropped,
        Ailment::Rejected,
        Ailment::Slow,
        Ailment::Lossy,
        Ailment::Narrow,
        Ailment::NoServer,
    ];
    ALL[rng.random_range(0..ALL.len())]
}
