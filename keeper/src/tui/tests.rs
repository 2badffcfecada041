//! A panic of a whole process, and the memory of one: this test program is started again for each.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::tcgetattr;
use wire::HiveName;
use wire::device::DeviceInfo;
use wire::event::Event as Said;
use wire::worker::WorkerState;

use super::board::Board;
use super::chat::Chat;
use super::event::{self, Event};
use super::look::Look;
use super::recorder::keep::Kept;
use super::recorder::{Recorder, Start};
use super::screen::{self, Screen};
use super::state::State;
use super::{update, view};
use crate::environment::Depth;
use crate::fleet::tests::{snapshot, worker};
use crate::link::watch::{News, Standing};
use crate::output::theme::Theme;

/// What the program does before it panics; this is no test of its own.
#[test]
#[ignore = "it panics on the terminal that it is started on"]
fn the_process_that_panics() {
    screen::give_back_in_a_panic();
    let start = Start {
        size: (80, 24),
        theme: Theme::default().name().clone(),
        hives: Vec::new(),
        models: Vec::new(),
        partner: None,
        keys: String::new(),
        inline: false,
        ids: 0,
    };
    Kept::new(Recorder::new(start), &std::env::current_dir().unwrap(), "build").save_in_a_panic();
    let mut screen = Screen::of_this_process().unwrap();
    screen.draw(|frame| frame.render_widget("seen", frame.area())).unwrap();
    let other = std::thread::spawn(|| panic!("another thread's panic"));
    assert!(other.join().is_err());
    panic!("the panic of the thread that has the terminal");
}

#[test]
fn a_panic_ends_on_the_screen_of_before_with_its_words_and_a_recording() {
    let home = tempfile::tempdir().unwrap();
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let before = tcgetattr(&theirs).unwrap();
    let stream = || Stdio::from(theirs.try_clone().unwrap());
    let own = std::env::current_exe().unwrap();
    let mut child = Command::new("setsid")
        .arg("--ctty")
        .arg(own)
        .args(["--exact", "tui::tests::the_process_that_panics", "--ignored", "--nocapture"])
        .current_dir(&home)
        .stdin(stream())
        .stdout(stream())
        .stderr(stream())
        .spawn()
        .unwrap();
    // Panics come fast enough for the terminal's own room to hold what is said.
    assert!(!child.wait().unwrap().success());
    let after = tcgetattr(&theirs).unwrap();
    let modes = |it: &rustix::termios::Termios| (it.local_modes, it.input_modes, it.output_modes);
    assert_eq!(modes(&after), modes(&before));
    let mut shown = vec![0; 64 * 1024];
    let count = File::from(ours).read(&mut shown).unwrap();
    let shown = String::from_utf8_lossy(&shown[..count]).into_owned();
    let left = shown.find("\x1b[?1049l").expect("the screen of before");
    let words = shown.find("another thread's panic").expect("its words");
    let recorded = shown.find("rbee replay ").expect("where it is recorded");
    assert!(shown.find("seen").unwrap() < left && left < words && words < recorded, "{shown:?}");
    assert_eq!(shown.matches("\x1b[?1049l").count(), 1, "{shown:?}");
    let kept = std::fs::read_dir(home.path().join("recordings")).unwrap().count();
    assert!(kept >= 1);
}

/// Hives that are watched, and what each of them has.
const HIVES: u64 = 100;
const DEVICES: u32 = 8;
/// Seconds of an hour: each hive says each of them what its devices do.
const AN_HOUR: u64 = 3600;
/// Pictures of all hives that the screen gets in a second.
const BOARDS: u64 = 4;

/// Bytes of this process that are resident (`proc_pid_statm(5)`, pages of 4 KiB).
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Devices as they are in one second.
fn devices(second: u64) -> Vec<DeviceInfo> {
    let device = |index: u32| DeviceInfo {
        name: Some("NVIDIA A100-SXM4-80GB".to_owned()),
        memory_total_bytes: Some(80 << 30),
        memory_used_bytes: Some((second * 97 + u64::from(index)) % (80 << 30)),
        utilisation_percent: Some((u32::try_from(second).unwrap() * 7 + index) % 100),
        temperature_celsius: Some(50),
        ..DeviceInfo::new(format!("cuda:{index}").parse().unwrap())
    };
    (0..DEVICES).map(device).collect()
}

/// The side of the screen for an hour: what hives send is read as its bytes are, recorded, taken
/// and drawn.
struct Hour {
    hives: Vec<HiveName>,
    board: Board,
    recorder: Recorder,
    state: State,
    terminal: Terminal<TestBackend>,
}

impl Hour {
    fn begin() -> Self {
        let hives: Vec<HiveName> = (0..HIVES).map(|n| format!("h{n}").parse().unwrap()).collect();
        let (size, theme) = ((120, 40), Theme::default());
        let recorder = Recorder::new(Start {
            size,
            theme: theme.name().clone(),
            hives: hives.clone(),
            models: Vec::new(),
            partner: None,
            keys: String::new(),
            inline: false,
            ids: 0,
        });
        let board = Board::new(hives.clone());
        let state = State::new(size, board.clone(), Chat::with(None), theme);
        let terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
        let mut hour = Self { hives, board, recorder, state, terminal };
        let Said::Snapshot(mut said) = snapshot(1, vec![worker("demo-1", WorkerState::Ready)])
        else {
            unreachable!()
        };
        said.devices = devices(0);
        for hive in &hour.hives {
            hour.board.take(hive, News::Standing(Standing::Online), Duration::ZERO);
            let said = Said::Snapshot(said.clone());
            hour.board.take(hive, News::Event(Box::new(said)), Duration::ZERO);
        }
        hour
    }

    fn take(&mut self, event: Event, now: Duration) {
        self.recorder.take(&self.state, &event, now);
        let _ = update::update(&mut self.state, event, now);
    }

    fn pass(&mut self, second: u64) {
        let figures = Said::Telemetry { devices: devices(second), workers: Vec::new() };
        let line = serde_json::to_string(&figures).unwrap();
        let part = self.hives.len().div_ceil(usize::try_from(BOARDS).unwrap());
        for (quarter, hives) in self.hives.clone().chunks(part).enumerate() {
            let now = Duration::from_millis(second * 1000 + u64::try_from(quarter).unwrap() * 250);
            for hive in hives {
                let said: Said = serde_json::from_str(&line).unwrap();
                self.board.take(hive, News::Event(Box::new(said)), now);
            }
            self.take(Event::Board(Arc::new(self.board.clone())), now);
        }
        let now = Duration::from_secs(second);
        self.take(Event::Tick, now);
        self.take(Event::Answer(second, event::News::Queued(second)), now);
        self.take(Event::Done(Ok(format!("done {second}"))), now);
        self.draw();
    }

    fn draw(&mut self) {
        view::layout::lay_out(&mut self.state);
        let look = Look::new(&self.state.theme, Depth::None, true);
        let state = &self.state;
        self.terminal.draw(|frame| view::view(state, &look, frame)).unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "its memory is its process's, so it has one of its own"]
fn the_process_that_lives_for_an_hour() {
    let began = std::time::Instant::now();
    let mut hour = Hour::begin();
    let mut after_a_tenth = 0;
    for second in 1..=AN_HOUR {
        hour.pass(second);
        if second == AN_HOUR / 10 {
            after_a_tenth = resident_bytes();
        }
    }
    let now = resident_bytes();
    let mib = |bytes: u64| bytes >> 20;
    println!(
        "memory, {HIVES} hives for an hour     {} MiB after six minutes, {} MiB after all ({:?})",
        mib(after_a_tenth),
        mib(now),
        began.elapsed()
    );
    let grown = now.saturating_sub(after_a_tenth);
    assert!(after_a_tenth > 0 && grown < 4 << 20, "{grown} bytes more than {after_a_tenth}");
}

#[cfg(target_os = "linux")]
#[test]
fn memory_is_flat_over_an_hour_of_a_hundred_hives() {
    let own = std::env::current_exe().unwrap();
    let words = ["--exact", "tui::tests::the_process_that_lives_for_an_hour", "--ignored"];
    let ended = Command::new(own).args(words).output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
}
