//! A panic of a whole process, and the memory of one: this test program is started again for each.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::tcgetattr;

use std::sync::Arc;
use std::time::Duration;

use super::board::Board;
use super::chat::Chat;
use super::event::{self, Event};
use super::recorder::keep::Kept;
use super::recorder::{Recorder, Start};
use super::screen::{self, Screen};
use super::state::State;
use super::update;
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

/// Events of an hour of four answers that stream; a board comes with each tenth.
const AN_HOUR: u64 = 1_000_000;

/// Bytes of this process that are resident (`proc_pid_statm(5)`, pages of 4 KiB).
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "its memory is its process's, so it has one of its own"]
fn the_process_that_lives_for_an_hour() {
    let hives: Vec<wire::HiveName> = (0..8).map(|n| format!("h{n}").parse().unwrap()).collect();
    let mut board = Board::new(hives.clone());
    let start = Start {
        size: (120, 40),
        theme: Theme::default().name().clone(),
        hives: hives.clone(),
        models: Vec::new(),
        partner: None,
    };
    let mut recorder = Recorder::new(start);
    let mut state = State::new((120, 40), board.clone(), Chat::with(None), Theme::default());
    let mut after_a_tenth = 0;
    for number in 0..AN_HOUR {
        let now = Duration::from_micros(number * 3600);
        let index = usize::try_from(number).unwrap() % hives.len();
        let event = match number % 10 {
            0 => {
                let worker = crate::fleet::tests::worker("demo-1", wire::worker::WorkerState::Busy);
                let said = crate::fleet::tests::snapshot(number, vec![worker]);
                board.take(&hives[index], News::Standing(Standing::Online), now);
                board.take(&hives[index], News::Event(Box::new(said)), now);
                Event::Board(Arc::new(board.clone()))
            }
            1 => Event::Tick,
            2 => Event::Done(Ok(format!("done {number}"))),
            _ => Event::Answer(number, event::News::Queued(number)),
        };
        recorder.take(&state, &event, now);
        let _ = update::update(&mut state, event, now);
        if number == AN_HOUR / 10 {
            after_a_tenth = resident_bytes();
        }
    }
    let grown = resident_bytes().saturating_sub(after_a_tenth);
    assert!(after_a_tenth > 0 && grown < 4 << 20, "{grown} bytes more than {after_a_tenth}");
}

#[cfg(target_os = "linux")]
#[test]
fn memory_is_flat_over_an_hour_of_events() {
    let own = std::env::current_exe().unwrap();
    let words = ["--exact", "tui::tests::the_process_that_lives_for_an_hour", "--ignored"];
    let ended = Command::new(own).args(words).output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
}
