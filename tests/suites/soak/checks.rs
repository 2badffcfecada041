//! What must hold after a step, and what must when everything is calm.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rbee_tests::procs::{self, Inmate, Role};
use rbee_tests::wait_until;
use serde_json::Value;

use super::plan::{Ailment, HIVES, STEADY};
use super::request::{Ended, Meddling, Question};
use super::tally::Sample;
use super::world::{Hive, Ill, PATIENCE, REFUSED, RESERVE_BYTES, World};

/// The workers are all stopped, and the ledger looked at, each so many times that all is calm.
const CALMS_BETWEEN_STOPS: u64 = 3;
/// How long a part may be there whose others are gone, on a busy machine.
const GRACE: Duration = Duration::from_secs(20);
/// What a loaded machine may take beyond the times of the design.
const SLACK: Duration = Duration::from_secs(10);
/// A whole hive ends within this (design), at real time.
const HIVE_END: Duration = Duration::from_secs(15);
/// All of them do.
const FLEET_END: Duration = Duration::from_secs(30);

impl World {
    /// How long a request took to hear of what ended it.
    pub fn time_of(&mut self, hive: usize, ended: &Ended, meddled: Option<(Meddling, Instant)>) {
        let Hive { killed, last_ill, .. } = &self.hives[hive];
        let since = |at: Instant| ended.at.saturating_duration_since(at);
        let bound = self.timings.dead;
        let recent = |at: &Instant| since(*at) <= bound + SLACK && ended.at >= *at;
        let of_role = |of: &[Role]| {
            killed.filter(|(role, at)| of.contains(role) && recent(at)).map(|(_, at)| at)
        };
        let (what, at) = match (ended.how.as_str(), meddled) {
            ("interrupted", Some((_, at))) => ("Ctrl-C until the end", Some(at)),
            ("WORKER_CRASHED", _) => {
                ("a killed worker until its reader knew", of_role(&[Role::Engine, Role::Guard]))
            }
            ("HIVE_UNREACHABLE", _) if of_role(&[Role::Agent]).is_some() => {
                ("a killed agent until its keeper knew", of_role(&[Role::Agent]))
            }
            ("HIVE_UNREACHABLE", _) => {
                let silent = |ill: &&Ill| matches!(ill.ailment, Ailment::Cut | Ailment::Dropped);
                let ill = last_ill.as_ref().filter(silent).filter(|ill| recent(&ill.since));
                ("a cut line until the request ended", ill.map(|ill| ill.since))
            }
            _ => return,
        };
        if let Some(at) = at {
            self.tally.took(what, since(at));
        }
    }

    /// A line that was silent for long enough was seen to be, in time.
    pub fn check_the_watch(&mut self, at: usize, ill: Ill) {
        let name = self.hives[at].name;
        let is_silent = matches!(ill.ailment, Ailment::Cut | Ailment::Dropped);
        let stood = self.watcher.stood(name, ill.since);
        if !is_silent || stood.as_deref() != Some("online") {
            return;
        }
        let seen = self.watcher.first(name, "unreachable", ill.since);
        let bound = self.timings.stale + SLACK;
        if let Some(seen) = seen {
            let took = seen.saturating_duration_since(ill.since);
            assert!(took <= bound, "{name} was seen to be silent only after {took:?}");
            self.tally.took("a cut line until it was shown", took);
        } else {
            let time = ill.since.elapsed();
            assert!(time <= bound, "{name} was silent for {time:?}, and nobody noticed");
        }
    }

    /// Cheap, and true at every moment within a grace: at most one agent, no engine without its
    /// guard, no zombie.
    pub fn check_after_a_step(&mut self) {
        assert!(self.watcher.is_alive(), "the keeper that watches has ended");
        for hive in &self.hives {
            let what = format!("no part without its other on {}", hive.name);
            wait_until(&what, GRACE, || {
                misfit(&procs::inmates(&hive.namespace)).is_none().then_some(())
            });
        }
    }

    /// Heals everything, waits until nothing is under way, and looks at all there is.
    pub fn calm(&mut self) {
        self.note("calm");
        self.heal_all();
        let began = Instant::now();
        while !self.requests.is_empty() {
            self.judge_ended();
            assert!(began.elapsed() < PATIENCE, "they do not end: {:?}", self.requests);
            std::thread::park_timeout(Duration::from_millis(20));
        }
        self.check_answers();
        self.check_that_all_are_back();
        self.check_the_picture();
        self.sample();
        self.tally.calm();
        if self.tally.calms().is_multiple_of(CALMS_BETWEEN_STOPS) {
            self.check_the_ledger();
        }
        let (minutes, steps) = (self.elapsed().as_secs_f64() / 60.0, self.steps);
        eprintln!("{minutes:6.1} min, step {steps}: {} answers, all is well", self.tally.answers());
        let grown = self.tally.grown();
        assert!(grown.is_none(), "{grown:?}");
    }

    fn check_answers(&mut self) {
        for hive in HIVES {
            let question = Question { index: 0, endless: None };
            let began = Instant::now();
            let said = self.ask(hive, question);
            let answer = super::request::Answer::of(&said.json_lines());
            let right = &self.answers.0[&(0, false)];
            let is_right = format!("{answer:?}") == format!("{right:?}");
            assert!(said.code == Some(0) && is_right, "{hive} is healed and says: {said:?}");
            self.tally.took("the first answer after all was healed", began.elapsed());
        }
    }

    fn check_that_all_are_back(&mut self) {
        let pause = self.timings.reconnect_most + self.timings.dead;
        for at in 0..self.hives.len() {
            let name = self.hives[at].name;
            wait_until(&format!("{name} is online again"), pause + 3 * SLACK, || {
                (self.watcher.standing(name).as_deref() == Some("online")).then_some(())
            });
            if let Some(healed) = self.hives[at].healed.take() {
                let back = self.watcher.first(name, "online", healed);
                if let Some(back) = back {
                    let took = back.saturating_duration_since(healed);
                    self.tally.took("a healed line until the hive was back", took);
                }
            }
        }
    }

    /// What the agents say is what runs there, and nothing else runs.
    fn check_the_picture(&self) {
        wait_until("the agents' picture is what there is", GRACE, || {
            let told = self.rbee(&["ps", "--json"]);
            let rows: Vec<Value> = serde_json::from_str(&told.stdout).unwrap_or_default();
            let is_idle = |row: &Value| row["active"] == 0 && row["queued"] == 0;
            let is_whole = |hive: &Hive| {
                let of_hive = || rows.iter().filter(|row| row["hive"] == hive.name);
                let pids = of_hive().filter_map(|row| row["pid"].as_i64());
                let engines = inmates(hive, Role::Engine).into_iter();
                pids.collect::<BTreeSet<_>>() == engines.map(i64::from).collect()
                    && inmates(hive, Role::Guard).len() == of_hive().count()
                    && inmates(hive, Role::Agent).len() == 1
            };
            let is_right = rows.iter().all(is_idle) && self.hives.iter().all(is_whole);
            (told.code == Some(0) && is_right).then_some(())
        });
    }

    /// With every worker stopped, nothing is promised to anybody.
    fn check_the_ledger(&mut self) {
        let began = Instant::now();
        let stopped = self.rbee(&["worker", "stop", "--all", "--now"]);
        assert!(stopped.code == Some(0), "{stopped:?}");
        self.tally.took("all workers stopped", began.elapsed());
        for hive in &self.hives {
            let left = [inmates(hive, Role::Engine), inmates(hive, Role::Guard)].concat();
            assert!(left.is_empty(), "left on {}: {left:?}", hive.name);
            let model = format!("file:{REFUSED}");
            let args = ["run", "-m", &model, "--json", "--hive", hive.name, "x"];
            let refused = self.rbee(&args);
            let events = refused.json_lines();
            let reserved = events.last().map(|last| last["details"]["reserved_bytes"].clone());
            assert_eq!(reserved, Some(RESERVE_BYTES.into()), "promised to nobody: {refused:?}");
        }
    }

    fn sample(&mut self) {
        let steady = procs::inmates(&self.hives[STEADY].namespace);
        let agent = steady.iter().find(|one| one.role == Role::Agent).map(|one| one.pid);
        let is_watching = |one: &&Inmate| one.args.iter().any(|arg| arg == "--watch");
        let keepers = procs::inmates(&self.keeper);
        let keeper = keepers.iter().find(is_watching).map(|one| one.pid);
        for (whose, pid) in [("the steady agent", agent), ("the keeper that watches", keeper)] {
            let pid = pid.expect("it runs");
            let bytes = procs::resident_bytes(pid).expect("it has memory");
            let descriptors = procs::descriptors(pid);
            self.tally.sample(whose, Sample { at: Instant::now(), bytes, descriptors });
        }
    }

    /// Ends everything: within the times of the design, and nothing is left.
    pub fn end(&mut self) {
        let began = Instant::now();
        let down = self.rbee(&["down"]);
        let took = began.elapsed();
        self.tally.took("the fleet's down", took);
        assert!(down.code == Some(0), "{down:?}");
        assert!(took <= FLEET_END + SLACK, "the fleet ended only after {took:?}");
        for hive in &self.hives {
            wait_until(&format!("nothing is left on {}", hive.name), HIVE_END, || {
                let roles = [Role::Agent, Role::Guard, Role::Engine];
                roles.iter().all(|role| inmates(hive, *role).is_empty()).then_some(())
            });
        }
    }
}

/// The numbers, on its machine, of the living processes of a role.
fn inmates(hive: &Hive, role: Role) -> Vec<i32> {
    let all = procs::inmates(&hive.namespace).into_iter();
    all.filter(|one| one.role == role && one.state != 'Z').map(|one| one.inner).collect()
}

/// A process that should not be as it is, if there is one.
fn misfit(all: &[Inmate]) -> Option<&Inmate> {
    let agents = all.iter().filter(|one| one.role == Role::Agent && one.state != 'Z').count();
    let parent = |one: &Inmate| all.iter().find(|other| other.pid == one.parent);
    all.iter().find(|one| match one.role {
        Role::Agent if agents > 1 => true,
        Role::Engine => parent(one).is_none_or(|parent| parent.role != Role::Guard),
        _ => one.state == 'Z' && parent(one).is_some_and(|parent| parent.role != Role::Other),
    })
}
