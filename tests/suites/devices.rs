//! Devices as they are: a library, a program and files say so, and what they do not say is absent.
//!
//! The library is a stub that is built here. It shows that the real one would be loaded, asked and
//! survived; it shows no figure of a real GPU.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what goes wrong here is a failed test"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rbee_tests::procs::{self, Role};
use rbee_tests::sandbox::{self, PATIENCE};
use rbee_tests::{Finished, Sandbox, wait_until};
use serde_json::{Value, json};

const GIB: u64 = 1 << 30;

/// A home on a machine with a driver of NVIDIA's, as far as rbee can tell.
struct Machine {
    sandbox: Sandbox,
    library: PathBuf,
    /// A directory that PATH begins with.
    programs: PathBuf,
}

impl Machine {
    /// With a library that says `figures`, built with `defines`.
    fn with_library(figures: &str, defines: &[&str]) -> Self {
        let machine = Self::without_library();
        machine.say(figures);
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/nvml.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-Wno-unused-function", "-o"])
            .args([machine.library.as_os_str(), source.as_ref()])
            .arg(format!("-DFIGURES=\"{}\"", machine.figures().display()))
            .args(defines)
            .status()
            .expect("a C compiler");
        assert!(built.success());
        machine
    }

    fn without_library() -> Self {
        let sandbox = Sandbox::new();
        let library = sandbox.home().join("libnvidia-ml.so.1");
        let programs = sandbox.home().join("bin");
        std::fs::create_dir(&programs).expect("a directory");
        Self { sandbox, library, programs }
    }

    fn figures(&self) -> PathBuf {
        self.sandbox.home().join("figures")
    }

    /// Says something else from now on, at once.
    fn say(&self, figures: &str) {
        let next = self.sandbox.home().join("figures.next");
        std::fs::write(&next, figures).expect("written");
        std::fs::rename(next, self.figures()).expect("renamed");
    }

    /// Puts a program on the PATH.
    fn install(&self, name: &str, script: &str) {
        let path = self.programs.join(name);
        std::fs::write(&path, script).expect("written");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, mode).expect("it may run");
    }

    fn rbee(&self, args: &[&str]) -> Finished {
        let path = format!("{}:/usr/bin:/bin", self.programs.display());
        let mut command = self.sandbox.command(args);
        command.env("RBEE_NVML_LIBRARY", &self.library).env("PATH", path);
        sandbox::finish(command.spawn().expect("rbee starts"))
    }

    fn start(&self) {
        let _ = self.rbee(&["hive", "start", "local"]).expect_code(0);
    }

    /// The hive as a person sees it.
    fn sheet(&self) -> String {
        self.rbee(&["hive", "show", "local"]).expect_code(0).stdout
    }

    fn devices(&self) -> Vec<Value> {
        let shown = self.rbee(&["hive", "show", "local", "--json"]).expect_code(0);
        let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
        shown["devices"].as_array().expect("a list").clone()
    }

    /// Waits until the devices are as `wanted` says.
    fn wait_for(&self, name: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        wait_until(name, PATIENCE, || Some(self.devices()).filter(|devices| wanted(devices)))
    }

    /// What doctor says of a device.
    fn check_of(&self, device: &str) -> Value {
        let said = self.rbee(&["doctor", "--json"]);
        // Where a check failed, what the command ends with follows.
        let mut texts = serde_json::Deserializer::from_str(&said.stdout).into_iter();
        let checks: Vec<Value> = texts.next().expect("a list").expect("JSON");
        let name = format!("device {device}");
        let of = |check: &&Value| check["name"] == name.as_str();
        checks.iter().find(of).expect("a check of the device").clone()
    }
}

fn gpu(uuid: &str, used: u64, celsius: u32, processes: &str, state: &str) -> String {
    let total = 24 * GIB;
    format!("{uuid}|NVIDIA L4|{total}|{used}|97|{celsius}|61250|72000|0|{processes}|{state}\n")
}

/// `{"kind": …}` of the fields that are not null.
fn known(device: &Value) -> Vec<&str> {
    let fields = device.as_object().expect("an object");
    fields.iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key.as_str()).collect()
}

#[test]
fn what_the_library_says_is_shown_and_what_it_does_not_say_is_absent() {
    let poor = "GPU-b|Tesla T4|-|-|-|-|-|-|-|-|ok\n";
    let machine = Machine::with_library(&(gpu("GPU-a", 3 * GIB, 61, "", "ok") + poor), &[]);
    machine.start();
    let devices = machine.wait_for("two GPUs are seen", |devices| devices.len() == 3);
    let (cpu, rich, poor) = (&devices[0], &devices[1], &devices[2]);
    assert_eq!((&cpu["kind"], &cpu["computes"]), (&json!("cpu"), &json!(true)));
    assert!(cpu["memory_used_bytes"].as_u64() < cpu["memory_total_bytes"].as_u64());
    for (field, value) in [
        ("kind", json!("cuda")),
        ("index", json!(0)),
        ("name", json!("NVIDIA L4")),
        ("memory_total_bytes", json!(24 * GIB)),
        ("memory_used_bytes", json!(3 * GIB)),
        ("memory_ours_bytes", json!(0)),
        ("utilisation_percent", json!(97)),
        ("temperature_celsius", json!(61)),
        ("power_milliwatts", json!(61_250)),
        ("power_limit_milliwatts", json!(72_000)),
        ("mig_enabled", json!(false)),
        ("driver", json!("570.86.15")),
        ("source", json!("nvml")),
        ("computes", json!(false)),
    ] {
        assert_eq!(rich[field], value, "{field}");
    }
    let of_poor = ["computes", "driver", "index", "kind", "name", "source"];
    assert_eq!(known(poor), of_poor, "{poor}");
    let sheet = machine.sheet();
    let words = "cuda:0 NVIDIA L4, 3.0 GiB of 24.0 GiB used, 97 % busy, 61 °C, 61 of 72 W, \
                 this build does not compute on it";
    assert!(sheet.contains(words), "{sheet}");
    let listed = machine.rbee(&["hive", "list"]).expect_code(0).stdout;
    assert!(listed.contains("cuda:1 Tesla T4, this build does not compute"), "{listed}");
}

#[test]
fn a_gpu_that_nothing_computes_on_is_never_taken_for_one_that_does() {
    let machine = Machine::with_library(&gpu("GPU-a", GIB, 40, "", "ok"), &[]);
    machine.start();
    let _ = machine.wait_for("the GPU is seen", |devices| devices.len() == 2);
    let refused = machine.rbee(&["run", "-m", "demo", "--device", "cuda:0", "hi"]).expect_code(21);
    assert!(refused.stderr.contains("only cpu"), "{}", refused.stderr);
    let ran = machine.rbee(&["run", "-m", "demo", "--json", "What is a hive?"]).expect_code(0);
    let placed = ran.json_lines().into_iter().find(|line| line["event"] == "placed");
    let placed = placed.expect("a place").to_string();
    assert!(placed.contains("does not compute on its cuda:0"), "{placed}");
    assert_eq!(machine.sandbox.workers()[0]["device"], "cpu");
}

#[test]
fn a_gpu_that_falls_off_the_bus_stays_in_the_list_as_lost_and_may_come_back() {
    let both = |first: &str| gpu("GPU-a", GIB, 40, "", first) + &gpu("GPU-b", GIB, 41, "", "ok");
    let machine = Machine::with_library(&both("ok"), &[]);
    machine.start();
    let _ = machine.wait_for("both are seen", |devices| devices.len() == 3);
    machine.say(&both("lost"));
    let is_lost = |devices: &[Value]| devices[1]["lost_since_unix_s"].is_u64();
    let devices = machine.wait_for("one is lost", is_lost);
    let (lost, other) = (&devices[1], &devices[2]);
    assert_eq!((&lost["name"], &lost["index"]), (&json!("NVIDIA L4"), &json!(0)));
    for figure in ["memory_used_bytes", "temperature_celsius", "utilisation_percent"] {
        assert!(lost[figure].is_null() && other[figure].is_u64(), "{figure}: {lost} {other}");
    }
    assert!(machine.sheet().contains("cuda:0 NVIDIA L4, lost"), "{}", machine.sheet());
    let check = machine.check_of("cuda:0");
    assert_eq!(check["verdict"], "failed", "{check}");
    // A driver that was started again lists it no more; the other one keeps its index.
    machine.say(&gpu("GPU-b", 2 * GIB, 90, "", "ok"));
    let grown = |devices: &[Value]| devices[2]["memory_used_bytes"] == 2 * GIB;
    let devices = machine.wait_for("the other one is itself", grown);
    assert!(is_lost(&devices) && devices[2]["index"] == 1, "{devices:?}");
    let check = machine.check_of("cuda:1");
    assert_eq!(check["verdict"], "warning", "it is hot: {check}");
    machine.say(&both("ok"));
    let _ = machine.wait_for("it is back", |devices| devices[1]["temperature_celsius"] == 40);
}

#[test]
fn memory_of_a_gpu_is_told_from_others_by_the_process_that_has_it() {
    let machine = Machine::with_library(&gpu("GPU-a", 3 * GIB, 40, "1:1073741824", "ok"), &[]);
    let _ = machine.rbee(&["run", "-m", "demo", "What is a hive?"]).expect_code(0);
    let pid = machine.sandbox.workers()[0]["pid"].as_u64().expect("a pid");
    let whose = format!("1:1073741824,{pid}:{}", 2 * GIB);
    machine.say(&gpu("GPU-a", 3 * GIB, 40, &whose, "ok"));
    let ours = |devices: &[Value]| devices[1]["memory_ours_bytes"] == 2 * GIB;
    let devices = machine.wait_for("the worker's memory is told", ours);
    assert_eq!(devices[1]["memory_used_bytes"], 3 * GIB);
    assert!(devices[0]["memory_ours_bytes"].as_u64() > Some(0), "the CPU's too: {}", devices[0]);
    assert!(machine.sheet().contains("(2.0 GiB by rbee)"), "{}", machine.sheet());
}

/// Ends the one worker; `meanwhile` runs when its process has ended.
fn stop(machine: &Machine, pid: i32, meanwhile: impl FnOnce() + Send) -> Value {
    std::thread::scope(|scope| {
        scope.spawn(move || {
            wait_until("it ends", PATIENCE, || (!procs::is_alive(pid)).then_some(()));
            meanwhile();
        });
        let said = machine.rbee(&["worker", "stop", "--all", "--json"]).expect_code(0);
        serde_json::from_str::<Value>(&said.stdout).expect("JSON")["stopped"][0].clone()
    })
}

#[test]
fn memory_of_a_gpu_is_read_again_after_the_stop_and_what_is_missing_is_told() {
    let machine = Machine::with_library(&gpu("GPU-a", 3 * GIB, 40, "", "ok"), &[]);
    let holds = |pid: i32| {
        let whose = format!("1:1073741824,{pid}:{}", 2 * GIB);
        machine.say(&gpu("GPU-a", 3 * GIB, 40, &whose, "ok"));
        let ours = |devices: &[Value]| devices[1]["memory_ours_bytes"] == 2 * GIB;
        let _ = machine.wait_for("the worker's memory is told", ours);
    };
    let start = || {
        let _ = machine.rbee(&["run", "-m", "demo", "What is a hive?"]).expect_code(0);
        machine.sandbox.pid_of(Role::Engine)
    };
    // A driver that takes a moment to clear it.
    let pid = start();
    holds(pid);
    let ended = stop(&machine, pid, || machine.say(&gpu("GPU-a", GIB, 40, "1:1", "ok")));
    let back = json!({"device": "cuda:0", "expected_bytes": 2 * GIB, "freed_bytes": 2 * GIB});
    assert_eq!(ended["device_memory"], json!([back]), "{ended}");
    // One that never does.
    let pid = start();
    holds(pid);
    let said = machine.rbee(&["worker", "stop", "--all"]).expect_code(0).stderr;
    let told = "2.0 GiB of the 2.0 GiB that ";
    assert!(said.contains(told) && said.contains(" had on cuda:0 did not come back"), "{said}");
    // One that hangs meanwhile: nothing is known, nothing is said, and the worker ends in time.
    let pid = start();
    holds(pid);
    let began = Instant::now();
    let ended = stop(&machine, pid, || machine.say("hang\n"));
    assert!(ended["device_memory"].is_null(), "{ended}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[test]
fn a_library_that_hangs_holds_up_nobody_and_its_gpus_have_no_figures_any_more() {
    let machine = Machine::with_library(&gpu("GPU-a", GIB, 40, "", "ok"), &[]);
    machine.start();
    let _ = machine.wait_for("the GPU is seen", |devices| devices.len() == 2);
    machine.say("hang\n");
    let is_silent = |devices: &[Value]| devices[1]["silent_since_unix_s"].is_u64();
    let devices = machine.wait_for("the driver is silent", is_silent);
    assert!(devices[1]["memory_used_bytes"].is_null(), "{}", devices[1]);
    assert_eq!(devices[1]["name"], "NVIDIA L4");
    let began = Instant::now();
    let ran = machine.rbee(&["run", "-m", "demo", "What is a hive?"]).expect_code(0);
    assert!(!ran.stdout.is_empty() && began.elapsed() < Duration::from_secs(20));
    assert_eq!(machine.check_of("cuda:0")["verdict"], "warning");
    // And the agent ends as always, though its thread never will.
    machine.sandbox.down();
}

#[test]
fn a_library_that_hangs_from_the_beginning_lets_the_agent_start() {
    let machine = Machine::with_library("hang\n", &[]);
    let ran = machine.rbee(&["run", "-m", "demo", "What is a hive?"]).expect_code(0);
    assert!(!ran.stdout.is_empty());
    assert_eq!(machine.devices().len(), 1, "the CPU");
}

#[test]
fn a_library_that_lacks_functions_tells_what_it_can() {
    let machine = Machine::with_library(&gpu("GPU-a", GIB, 40, "", "ok"), &["-DLACKING"]);
    machine.start();
    let devices = machine.wait_for("the GPU is seen", |devices| devices.len() == 2);
    assert_eq!(known(&devices[1]), ["computes", "index", "kind", "name", "source"]);
}

#[test]
fn names_with_escapes_and_absurd_figures_and_ten_thousand_gpus_are_survived() {
    let bad = "GPU-a|\u{1b}[2J\u{1b}]0;x\u{7}evil|99999999999999999999|5|4000000000|4000000000|\
               4000000000|0|1|1:18446744073709551615|ok\n";
    let machine = Machine::with_library(bad, &[]);
    machine.start();
    let devices = machine.wait_for("the GPU is seen", |devices| devices.len() == 2);
    let of_bad = ["computes", "driver", "index", "kind", "memory_ours_bytes", "memory_used_bytes"];
    assert_eq!(known(&devices[1])[..6], of_bad, "{}", devices[1]);
    assert!(devices[1]["utilisation_percent"].is_null() && devices[1]["mig_enabled"] == true);
    let sheet = machine.sheet();
    assert!(!sheet.contains('\u{1b}') && sheet.contains("evil") && sheet.contains(", MIG"));
    let many = (0..10_000).map(|n| gpu(&format!("GPU-{n}"), GIB, 40, "", "ok"));
    machine.say(&many.collect::<String>());
    let devices = machine.wait_for("many are seen", |devices| devices.len() > 2);
    assert_eq!(devices.len(), wire::limits::MAX_DEVICES, "the CPU among them");
}

/// What `nvidia-smi` writes of one GPU and of one process on it.
const SMI: &str = "#!/bin/sh\ncase $1 in\n\
    *compute-apps*) echo 'GPU-a, 1, 512';;\n\
    *) echo '0, GPU-a, NVIDIA A2, 535.1, 15356, 1024, [N/A], 55, 9.50, 60.00, [N/A]';;\nesac\n";

#[test]
fn where_the_library_cannot_be_loaded_the_program_is_asked() {
    for library in ["", "no library\n"] {
        let machine = Machine::without_library();
        if !library.is_empty() {
            std::fs::write(&machine.library, library).expect("written");
        }
        machine.install("nvidia-smi", SMI);
        machine.start();
        let devices = machine.wait_for("the GPU is seen", |devices| devices.len() == 2);
        let gpu = &devices[1];
        assert_eq!((&gpu["source"], &gpu["name"]), (&json!("nvidia_smi"), &json!("NVIDIA A2")));
        assert_eq!(gpu["memory_total_bytes"], 15_356_u64 << 20);
        assert_eq!(
            (&gpu["power_milliwatts"], &gpu["memory_ours_bytes"]),
            (&json!(9500), &json!(0))
        );
        assert!(gpu["utilisation_percent"].is_null() && gpu["mig_enabled"].is_null(), "{gpu}");
    }
}

#[test]
fn a_library_of_a_driver_that_is_not_loaded_or_that_cannot_be_closed_is_not_used() {
    for (figures, defines) in [("refuse\n", &[][..]), ("", &["-DUNFIT"][..])] {
        let machine = Machine::with_library(figures, defines);
        machine.install("nvidia-smi", SMI);
        machine.start();
        let devices = machine.wait_for("the GPU is seen", |devices| devices.len() == 2);
        assert_eq!(devices[1]["source"], "nvidia_smi", "{}", devices[1]);
    }
}

#[test]
fn a_program_that_hangs_or_babbles_costs_nobody_anything() {
    for script in ["#!/bin/sh\nexec sleep 600\n", "#!/bin/sh\nexec yes\n"] {
        let machine = Machine::without_library();
        machine.install("nvidia-smi", script);
        let ran = machine.rbee(&["run", "-m", "demo", "What is a hive?"]).expect_code(0);
        assert!(!ran.stdout.is_empty());
        assert_eq!(machine.devices().len(), 1, "the CPU");
    }
}
