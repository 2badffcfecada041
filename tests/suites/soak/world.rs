//! The machines of a soak, what ails them, and the steps.

use std::collections::VecDeque;
use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rbee_tests::lab::Cable;
use rbee_tests::procs::{self, Role};
use rbee_tests::sandbox::{Finished, finish};
use rbee_tests::{Fleet, synthetic};
use rustix::process::Signal;
use wire::Timings;

use super::plan::{Action, Ailment, HIVES, Length};
use super::request::{Answer, Answers, MOST_TOKENS, Meddling, QUESTIONS, Question, Request};
use super::tally::Tally;
use rbee_tests::watcher::Watcher;

/// Bytes that no worker but the demo's may claim: more than any machine has, so that another model
/// is always refused, and the refusal says what is promised.
pub const RESERVE_BYTES: u64 = 1 << 50;
/// A model that is always refused.
pub const REFUSED: &str = "/home/rbee/refused.gguf";
/// Keepers at once.
const MOST_REQUESTS: usize = 4;
/// Longest time in which a command ends, whatever happens meanwhile.
pub const PATIENCE: Duration = Duration::from_secs(240);
/// Crashes of a hive's workers within the time after which a breaker forgets them, so that none
/// opens: another test is about that.
const MOST_CRASHES: usize = 3;
/// Actions that are shown when something is wrong.
const SHOWN: usize = 25;

/// What ails a line.
#[derive(Debug, Clone, Copy)]
pub struct Ill {
    /// What.
    pub ailment: Ailment,
    /// Since when.
    pub since: Instant,
    until: Instant,
}

/// One hive.
#[derive(Debug)]
pub struct Hive {
    /// Its name, and its machine's.
    pub name: &'static str,
    /// Of its processes.
    pub namespace: String,
    /// How often something happened to it.
    disturbed: u64,
    ill: Option<Ill>,
    /// Its engine that stands still, and until when.
    frozen: Option<(i32, Instant)>,
    /// When its engines were killed, by whatever way.
    crashes: VecDeque<Instant>,
    /// The last kill of a part.
    pub killed: Option<(Role, Instant)>,
    /// The last ailment, healed or not.
    pub last_ill: Option<Ill>,
    /// When its line was healed last; none once it was seen to be back.
    pub healed: Option<Instant>,
}

/// Everything. When a test fails, what led to it is shown and the logs are kept.
pub struct World {
    /// Figures.
    pub tally: Tally,
    /// Steps so far.
    pub steps: u64,
    /// How long, by which seed.
    pub length: Length,
    /// The product's waits.
    pub timings: Timings,
    /// A keeper that watches.
    pub watcher: Watcher,
    /// The hives.
    pub hives: Vec<Hive>,
    /// Requests that run.
    pub requests: Vec<Request>,
    /// What is right.
    pub answers: Answers,
    /// Of the keeper's processes.
    pub keeper: String,
    rng: StdRng,
    numbers: u32,
    began: Instant,
    history: VecDeque<String>,
    /// The machines; they end after everything above.
    pub fleet: Fleet,
}

impl World {
    /// Starts the machines; none where a lab cannot run.
    pub fn make(length: &Length) -> Option<Self> {
        let timings = length.timings();
        let waits = toml::to_string(&timings).expect("TOML");
        let hives = HIVES.map(|hive| format!("[hives.{hive}]\naddress = \"{hive}\"\n")).concat();
        let fleet =
            Fleet::up(&HIVES.map(|hive| (hive, "")), &format!("{hives}[timings]\n{waits}"))?;
        let dir = tempfile::tempdir().expect("a directory");
        let model = dir.path().join("refused.gguf");
        synthetic::write(&model, &synthetic::TINY).expect("a model");
        let config = format!("[agent]\nreserve_ram_bytes = {RESERVE_BYTES}\n[timings]\n{waits}");
        let hive = |name: &'static str| {
            fleet.configure_host(name, &config);
            fleet.give(name, &model, REFUSED);
            Hive::new(name, fleet.lab.namespace(name))
        };
        let hives = HIVES.map(hive).into();
        // Each sends the program to its hive before anybody watches.
        let _ = fleet.rbee(&["hive", "start", "--all"]).expect_code(0);
        let keeper = fleet.lab.namespace("keeper");
        let watcher = fleet.watch(2 * length.time + Duration::from_secs(600));
        Some(Self {
            tally: Tally::default(),
            steps: 0,
            length: length.clone(),
            timings,
            watcher,
            hives,
            requests: Vec::new(),
            answers: Answers::default(),
            keeper,
            rng: StdRng::seed_from_u64(length.seed),
            numbers: 0,
            began: Instant::now(),
            history: VecDeque::new(),
            fleet,
        })
    }

    /// Time since the answers were learnt.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Asks every question of every hive while nothing happens: the answers are those that must
    /// come from then on, and they are the same everywhere.
    pub fn learn(&mut self) {
        for index in 0..QUESTIONS.len() {
            for endless in [None, Some(MOST_TOKENS)] {
                let question = Question { index, endless };
                for hive in HIVES {
                    let said = self.ask(hive, question).expect_code(0);
                    let answer = Answer::of(&said.json_lines());
                    assert!(answer.tokens() > 0, "{said:?}");
                    let key = (index, endless.is_some());
                    let known = self.answers.0.entry(key).or_insert_with(|| answer.clone());
                    assert_eq!(format!("{known:?}"), format!("{answer:?}"), "of {hive}");
                }
            }
        }
        self.began = Instant::now();
    }

    /// Asks and waits.
    pub fn ask(&mut self, hive: &str, question: Question) -> Finished {
        finish(self.command(hive, question).spawn().expect("a keeper"))
    }

    fn command(&mut self, hive: &str, question: Question) -> std::process::Command {
        self.numbers += 1;
        let (number, words) = (self.number(), question.args());
        let mut args =
            vec!["keeper", "bin/rbee", "run", "-m", "demo", "--json", "--hive", hive, "--seed"];
        args.push(&number);
        args.extend(words.iter().map(String::as_str));
        self.fleet.lab.command_within(PATIENCE.as_secs(), &args)
    }

    /// A number that no process of this machine has among its arguments by chance.
    fn number(&self) -> String {
        (7_000_000 + self.numbers).to_string()
    }

    /// Runs any other command to its end.
    pub fn rbee(&self, args: &[&str]) -> Finished {
        let args = [&["keeper", "bin/rbee"], args].concat();
        let command = self.fleet.lab.command_within(PATIENCE.as_secs(), &args).spawn();
        finish(command.expect("a keeper"))
    }

    /// Heals what is due, does one thing, and judges what has ended.
    pub fn step(&mut self) {
        self.steps += 1;
        self.heal_until(Instant::now());
        let action = Action::choose(&mut self.rng, &self.length);
        let action = if self.is_possible(action) { action } else { self.instead(action) };
        self.note(&format!("{action:?}"));
        self.tally.did(action.name());
        self.perform(action);
        let pause = self.length.scaled(Duration::from_millis(self.rng.random_range(100..3000)));
        self.wait(pause);
        self.check_after_a_step();
    }

    /// Lets time pass, and no longer than the next request needs to end when there are many.
    fn wait(&mut self, pause: Duration) {
        let began = Instant::now();
        while began.elapsed() < pause || self.requests.len() >= MOST_REQUESTS {
            self.judge_ended();
            self.heal_until(Instant::now());
            assert!(began.elapsed() < PATIENCE, "a request does not end: {:?}", self.requests);
            std::thread::park_timeout(Duration::from_millis(20));
        }
        self.judge_ended();
    }

    fn instead(&mut self, action: Action) -> Action {
        let hive = match action {
            Action::Kill { hive, .. } | Action::Ail { hive, .. } | Action::Freeze { hive, .. } => {
                hive
            }
            _ => self.rng.random_range(0..HIVES.len()),
        };
        Action::Ask { hive, endless: true }
    }

    fn is_possible(&mut self, action: Action) -> bool {
        match action {
            Action::Ask { .. } | Action::Look => true,
            Action::Interrupt | Action::KillKeeper => {
                self.requests.iter().any(|request| request.meddled.is_none())
            }
            Action::Kill { hive, role: Role::Agent } => self.inmate(hive, Role::Agent).is_some(),
            Action::Kill { hive, role } | Action::Freeze { hive, role, .. } => {
                // Nobody asks how it ended while its agent stands still.
                let is_free = self.hives[hive].frozen.is_none() && self.may_crash(hive);
                is_free && self.inmate(hive, role).is_some()
            }
            Action::Ail { hive, .. } | Action::StopWorkers { hive, .. } | Action::Down { hive } => {
                let hive = &self.hives[hive];
                hive.ill.is_none() && hive.frozen.is_none()
            }
        }
    }

    fn may_crash(&mut self, hive: usize) -> bool {
        let window = self.length.scaled(Duration::from_secs(300));
        let crashes = &mut self.hives[hive].crashes;
        crashes.retain(|at| at.elapsed() < window);
        crashes.len() < MOST_CRASHES
    }

    /// A process of a hive.
    fn inmate(&self, hive: usize, role: Role) -> Option<i32> {
        let all = procs::inmates(&self.hives[hive].namespace);
        all.into_iter().find(|one| one.role == role && one.state != 'Z').map(|one| one.pid)
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Ask { hive, endless } => self.begin(hive, endless),
            Action::Interrupt => self.meddle(Meddling::Interrupted, Signal::INT),
            Action::KillKeeper => self.meddle(Meddling::Killed, Signal::KILL),
            Action::Kill { hive, role } => self.kill(hive, role),
            Action::Ail { hive, ailment, time } => self.ail(hive, ailment, time),
            Action::Freeze { hive, role, time } => self.freeze(hive, role, time),
            Action::StopWorkers { hive, now } => self.stop_workers(hive, now),
            Action::Down { hive } => self.down(hive),
            Action::Look => {
                // Some may be out of reach; what is not must be told all the same.
                let _ = self.rbee(&["ps", "--json"]);
            }
        }
    }

    fn begin(&mut self, hive: usize, endless: bool) {
        let index = self.rng.random_range(0..QUESTIONS.len());
        let endless = endless.then(|| self.rng.random_range(50..MOST_TOKENS));
        let question = Question { index, endless };
        let state = &self.hives[hive];
        let is_calm = state.ill.is_none() && state.frozen.is_none();
        let calm_since = is_calm.then_some(state.disturbed);
        let child = self.command(self.hives[hive].name, question).spawn().expect("a keeper");
        let reader = std::thread::spawn(move || (finish(child), Instant::now()));
        let (number, began) = (self.numbers, Instant::now());
        let meddled = None;
        self.requests.push(Request { number, hive, question, calm_since, began, meddled, reader });
    }

    fn meddle(&mut self, what: Meddling, signal: Signal) {
        let alone: Vec<usize> =
            (0..self.requests.len()).filter(|at| self.requests[*at].meddled.is_none()).collect();
        let Some(at) = alone.get(self.rng.random_range(0..alone.len().max(1))).copied() else {
            return;
        };
        let number = (7_000_000 + self.requests[at].number).to_string();
        let of_it = |one: &procs::Inmate| {
            one.args.contains(&number) && one.args.iter().any(|arg| arg == "bin/rbee")
        };
        // It may not have begun yet, or have ended.
        if let Some(one) = procs::inmates(&self.keeper).into_iter().find(of_it) {
            self.requests[at].meddled = Some((what, Instant::now()));
            procs::signal(one.pid, signal);
        }
    }

    fn kill(&mut self, hive: usize, role: Role) {
        let Some(pid) = self.inmate(hive, role) else { return };
        let state = &mut self.hives[hive];
        state.disturbed += 1;
        state.killed = Some((role, Instant::now()));
        if role != Role::Agent {
            state.crashes.push_back(Instant::now());
        }
        procs::signal(pid, Signal::KILL);
    }

    fn ail(&mut self, hive: usize, ailment: Ailment, time: Duration) {
        let (lab, state) = (&self.fleet.lab, &mut self.hives[hive]);
        let name = state.name;
        state.disturbed += 1;
        let since = Instant::now();
        match ailment {
            Ailment::Cut => lab.cut(name),
            Ailment::Dropped => lab.drop_packets(name),
            Ailment::Rejected => lab.reject(name),
            Ailment::NoServer => lab.sshd(name, "cut"),
            Ailment::Slow => {
                lab.delay(name, Cable { delay_ms: 500, jitter_ms: 100, ..Cable::default() });
            }
            Ailment::Lossy => {
                lab.delay(name, Cable { delay_ms: 5, loss_percent: 30, ..Cable::default() });
            }
            Ailment::Narrow => {
                lab.delay(name, Cable { delay_ms: 20, kbit: 80, ..Cable::default() });
            }
        }
        let ill = Ill { ailment, since, until: since + time };
        (state.ill, state.last_ill) = (Some(ill), Some(ill));
    }

    fn freeze(&mut self, hive: usize, role: Role, time: Duration) {
        let Some(pid) = self.inmate(hive, role) else { return };
        let state = &mut self.hives[hive];
        state.disturbed += 1;
        if role == Role::Engine {
            // One that stands still for too long is replaced, which counts as a crash.
            state.crashes.push_back(Instant::now());
        }
        procs::signal(pid, Signal::STOP);
        state.frozen = Some((pid, Instant::now() + time));
    }

    fn stop_workers(&mut self, hive: usize, now: bool) {
        let name = self.hives[hive].name;
        let mut args = vec!["worker", "stop", "--all", "--hive", name];
        args.extend(now.then_some("--now"));
        self.hives[hive].disturbed += 1;
        let began = Instant::now();
        let stopped = self.rbee(&args);
        self.hives[hive].disturbed += 1;
        assert_eq!(stopped.code, Some(0), "workers of {name} were not stopped: {stopped:?}");
        self.tally.took("workers stopped", began.elapsed());
    }

    fn down(&mut self, hive: usize) {
        let name = self.hives[hive].name;
        self.hives[hive].disturbed += 1;
        let began = Instant::now();
        let down = self.rbee(&["down", "--hive", name]);
        self.hives[hive].disturbed += 1;
        assert_eq!(down.code, Some(0), "{name} did not end: {down:?}");
        self.tally.took("a hive's down", began.elapsed());
    }

    /// Heals whose time has come.
    pub fn heal_until(&mut self, now: Instant) {
        for at in 0..self.hives.len() {
            if let Some((pid, _)) = self.hives[at].frozen.filter(|(_, until)| *until <= now) {
                procs::signal(pid, Signal::CONT);
                self.hives[at].frozen = None;
                self.hives[at].disturbed += 1;
            }
            if let Some(ill) = self.hives[at].ill.filter(|ill| ill.until <= now) {
                self.heal(at, ill);
            }
        }
    }

    fn heal(&mut self, at: usize, ill: Ill) {
        let (lab, name) = (&self.fleet.lab, self.hives[at].name);
        match ill.ailment {
            Ailment::Cut => lab.heal(name),
            Ailment::Dropped => lab.undrop_packets(name),
            Ailment::Rejected => lab.allow(name),
            Ailment::NoServer => lab.sshd(name, "start"),
            Ailment::Slow | Ailment::Lossy | Ailment::Narrow => lab.delay(name, Cable::default()),
        }
        self.note(&format!("healed {name}"));
        let state = &mut self.hives[at];
        state.ill = None;
        state.disturbed += 1;
        state.healed = Some(Instant::now());
        self.check_the_watch(at, ill);
    }

    /// Ends all that ails, now.
    pub fn heal_all(&mut self) {
        for hive in &mut self.hives {
            let now = Instant::now();
            if let Some(ill) = &mut hive.ill {
                ill.until = now;
            }
            if let Some((_, until)) = &mut hive.frozen {
                *until = now;
            }
        }
        self.heal_until(Instant::now());
    }

    /// Judges every request that has ended.
    pub fn judge_ended(&mut self) {
        let mut at = 0;
        while at < self.requests.len() {
            if !self.requests[at].reader.is_finished() {
                at += 1;
                continue;
            }
            let request = self.requests.remove(at);
            let (number, hive, meddled) = (request.number, request.hive, request.meddled);
            let undisturbed = request.calm_since == Some(self.hives[hive].disturbed);
            match request.judge(&self.answers, undisturbed) {
                Ok(ended) => {
                    self.note(&format!("request {number}: {} after {:?}", ended.how, ended.took));
                    self.tally.ended(&ended.how, ended.tokens);
                    self.time_of(hive, &ended, meddled);
                }
                Err(wrong) => panic!("request {number} of {}: {wrong}", HIVES[hive]),
            }
        }
    }

    /// Remembers what was done, for when something goes wrong.
    pub fn note(&mut self, what: &str) {
        if self.history.len() == SHOWN {
            self.history.pop_front();
        }
        let at = self.began.elapsed().as_secs_f64();
        self.history.push_back(format!("{at:8.2} s, step {}: {what}", self.steps));
    }

    fn keep_the_logs(&self) {
        let dir = std::env::temp_dir().join(format!("rbee-soak-{}", std::process::id()));
        let _ = std::fs::create_dir_all(&dir);
        let homes = HIVES.map(|hive| (hive, "/home/rbee/.local/state")).into_iter();
        for (machine, state) in homes.chain([("keeper", "/home/keeper/.local/state")]) {
            let Ok(file) = File::create(dir.join(format!("{machine}.tar"))) else { continue };
            let args =
                ["exec", machine, "tar", "-C", state, "--exclude=*.sock", "-cf", "-", "rbee"];
            let mut command = self.fleet.lab.command(&args);
            let _ = command.stdout(file).stderr(Stdio::null()).status();
        }
        eprintln!("their logs are in {}", dir.display());
    }
}

impl Hive {
    fn new(name: &'static str, namespace: String) -> Self {
        Self {
            name,
            namespace,
            disturbed: 0,
            ill: None,
            frozen: None,
            crashes: VecDeque::new(),
            killed: None,
            last_ill: None,
            healed: None,
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the soak of {} failed at step {}; before:", self.length, self.steps);
            for line in &self.history {
                eprintln!("  {line}");
            }
            for hive in &self.hives {
                for one in procs::inmates(&hive.namespace) {
                    if one.args.iter().any(|arg| arg.contains("rbee")) {
                        eprintln!("  on {}: {one:?}", hive.name);
                    }
                }
            }
            self.keep_the_logs();
        }
    }
}
