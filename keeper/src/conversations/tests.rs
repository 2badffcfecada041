//! The file of conversations on a real disk: broken, newer, locked, shared, large.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use wire::generate::{FinishReason, GenerationTimings, Usage};

use super::desk::{Desk, Job, Reply, Save};
use super::export::{self, Format};
use super::store::Store;
use super::*;

const SOON: Duration = Duration::from_millis(50);

fn place() -> Place {
    Place { hive: "pc".parse().unwrap(), device: "cuda:0".parse().unwrap(), ctx_size: 4096 }
}

fn done() -> End {
    let usage = Usage { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5, cached_tokens: 0 };
    let timings = GenerationTimings { decode_ms: 1.5, ..GenerationTimings::default() };
    let finish_reason = Some(FinishReason::Stop);
    End::Done { finish_reason, usage, timings, first_token_ms: Some(12) }
}

fn said(id: i64, parent: Option<i64>, question: &str, answer: &str) -> Said {
    Said {
        id: TurnId(id),
        parent: parent.map(TurnId),
        question: question.to_owned(),
        answer: answer.to_owned(),
        reasoning: "because".to_owned(),
        model: ModelRef::Demo,
        place: Some(place()),
        end: done(),
    }
}

fn head(id: i64, title: &str, last: i64) -> Head {
    let sampling = SamplingFields { temperature: Some(0.25), ..SamplingFields::default() };
    Head {
        id: ConversationId(id),
        title: title.to_owned(),
        model: ModelRef::Demo,
        hive: Some("pc".parse().unwrap()),
        settings: Settings { system: Some("be brief".to_owned()), ctx_size: None, sampling },
        last: Some(TurnId(last)),
    }
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rbee").join(FILE);
    (dir, path)
}

fn open(path: &Path) -> Store {
    let opened = Store::open(path, SOON).unwrap();
    assert_eq!(opened.note, None);
    opened.store
}

fn titles(store: &Store, search: &str) -> Vec<String> {
    store.list(search).unwrap().into_iter().map(|entry| entry.title).collect()
}

#[test]
fn what_was_saved_is_opened_as_it_was_and_the_file_is_its_users_alone() {
    let (_dir, path) = file();
    let first = said(1, None, "What is a hive?", "A machine.");
    let second = said(2, Some(1), "And a worker?", "A process.");
    let mut store = open(&path);
    store.save(&head(7, "Bees", 1), std::slice::from_ref(&first), 1000).unwrap();
    store.save(&head(7, "Bees", 2), std::slice::from_ref(&second), 2000).unwrap();
    drop(store);
    let store = open(&path);
    let loaded = store.load(ConversationId(7)).unwrap();
    let head = head(7, "Bees", 2);
    assert_eq!(loaded, Conversation { head, turns: vec![first, second], is_cut: false });
    let entry = store.list("").unwrap().remove(0);
    assert_eq!((entry.turns, entry.changed_ms, entry.model.as_str()), (2, 2000, "demo"));
    for name in [FILE, "conversations.db-wal", "conversations.db-shm"] {
        let mode = fs::metadata(path.with_file_name(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn saving_a_turn_again_replaces_it_and_an_edited_one_leaves_the_old_branch_in_the_file() {
    let (_dir, path) = file();
    let mut store = open(&path);
    let half = Said { end: End::Open, ..said(1, None, "tell", "once") };
    store.save(&head(7, "t", 1), &[half], 1).unwrap();
    store.save(&head(7, "t", 1), &[said(1, None, "tell", "once upon a time")], 2).unwrap();
    store.save(&head(7, "t", 2), &[said(2, Some(1), "old question", "old")], 3).unwrap();
    store.save(&head(7, "t", 3), &[said(3, Some(1), "new question", "new")], 4).unwrap();
    let turns = store.load(ConversationId(7)).unwrap().turns;
    let answers: Vec<&str> = turns.iter().map(|said| said.answer.as_str()).collect();
    assert_eq!(answers, ["once upon a time", "new"]);
    assert_eq!(store.list("").unwrap()[0].turns, 3);
    assert_eq!(titles(&store, "old question"), ["t"]);
}

#[test]
fn words_of_titles_and_texts_are_found_by_their_beginnings_in_any_order() {
    let (_dir, path) = file();
    let mut store = open(&path);
    store
        .save(&head(1, "Bees", 1), &[said(1, None, "What is a hive?", "Ein Gehäuse.")], 1)
        .unwrap();
    store.save(&head(2, "Ants 100%", 2), &[said(2, None, "hills", "of sand")], 2).unwrap();
    assert_eq!(titles(&store, ""), ["Ants 100%", "Bees"], "newest first");
    assert_eq!(titles(&store, "hiv wha"), ["Bees"]);
    assert_eq!(titles(&store, "GEHAUSE"), ["Bees"]);
    assert_eq!(titles(&store, "nts 1"), ["Ants 100%"]);
    assert_eq!(titles(&store, "%"), ["Ants 100%"]);
    for odd in ["\"", "hive\" OR \"sand", "NEAR(", "*", "^zz", "question:hills", "'"] {
        assert_eq!(titles(&store, odd), Vec::<String>::new(), "{odd:?}");
    }
    let found = store.list("hive").unwrap().remove(0).found.unwrap();
    assert!(found.contains("What is a hive?"), "{found}");
    store.rename(ConversationId(1), "  My\u{1b}[2J bees ").unwrap();
    store.save(&head(1, "made again", 1), &[], 9).unwrap();
    assert_eq!(titles(&store, "my bees").len(), 0, "a title is searched as it is written");
    assert!(titles(&store, "bees")[0].ends_with("bees"), "a chosen title stays");
}

#[test]
fn what_is_deleted_is_in_no_file_any_more() {
    let (_dir, path) = file();
    let mut store = open(&path);
    let secret = "swordfish-7141";
    store.save(&head(1, "t", 1), &[said(1, None, "my word", secret)], 1).unwrap();
    assert_eq!(titles(&store, "swordfish"), ["t"]);
    store.delete(ConversationId(1)).unwrap();
    assert!(titles(&store, "swordfish").is_empty() && titles(&store, "").is_empty());
    assert_eq!(store.delete(ConversationId(1)).unwrap_err().code, Code::NotFound);
    assert_eq!(store.load(ConversationId(1)).unwrap_err().code, Code::NotFound);
    for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        for word in [secret.as_bytes(), b"swordfish"] {
            assert!(!bytes.windows(word.len()).any(|part| part == word));
        }
    }
}

#[test]
fn a_broken_file_is_set_aside_and_never_overwritten() {
    let (_dir, path) = file();
    for number in 1..=2 {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("no database at all, the {number}. time").repeat(200)).unwrap();
        let opened = Store::open(&path, SOON).unwrap();
        let note = opened.note.unwrap();
        let aside = path.with_file_name(format!("{FILE}.broken-{number}"));
        assert!(note.message.contains(&*aside.to_string_lossy()), "{}", note.message);
        assert!(fs::read_to_string(aside).unwrap().contains(&format!("the {number}. time")));
        let mut store = opened.store;
        store.save(&head(1, "fresh", 1), &[said(1, None, "q", "a")], 1).unwrap();
        assert_eq!(titles(&store, ""), ["fresh"]);
    }
}

#[test]
fn a_file_of_a_newer_version_or_of_another_program_is_not_touched() {
    for (application, version, words) in
        [(0x7262_6565, 99, "newer rbee (version 99"), (17, 1, "another program's")]
    {
        let (_dir, path) = file();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let other = Connection::open(&path).unwrap();
        other.pragma_update(None, "application_id", application).unwrap();
        other.pragma_update(None, "user_version", version).unwrap();
        other.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
        drop(other);
        let before = fs::read(&path).unwrap();
        let fault = Store::open(&path, SOON).unwrap_err();
        assert_eq!(fault.code, Code::VersionMismatch);
        assert!(fault.message.contains(words) && fault.message.contains("conversations.db"));
        assert!(fault.hints[0].starts_with("mv "), "{:?}", fault.hints);
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn a_locked_file_is_waited_for_within_a_bound_and_said() {
    let (_dir, path) = file();
    let mut store = open(&path);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begun = Instant::now();
    let turn = [said(1, None, "q", "a")];
    let fault = store.save(&head(1, "t", 1), &turn, 1).unwrap_err();
    assert!(fault.message.ends_with("is locked"), "{}", fault.message);
    assert!(begun.elapsed() >= SOON && begun.elapsed() < Duration::from_secs(5));
    assert!(store.list("").unwrap().is_empty(), "reading goes on");
    other.execute_batch("COMMIT").unwrap();
    store.save(&head(1, "t", 1), &turn, 1).unwrap();
}

#[test]
fn several_programs_save_into_one_file_at_once_and_none_loses_a_turn() {
    let (_dir, path) = file();
    let threads: Vec<_> = (0..4_i64)
        .map(|program| {
            let path = path.clone();
            std::thread::spawn(move || {
                let mut store = Store::open(&path, Duration::from_secs(30)).unwrap().store;
                for turn in 0..25 {
                    let id = program * 1000 + turn;
                    let parent = (turn > 0).then_some(id - 1);
                    let turns = [said(id, parent, "q", "a")];
                    store.save(&head(program, "t", id), &turns, 1).unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let store = open(&path);
    for program in 0..4 {
        assert_eq!(store.load(ConversationId(program)).unwrap().turns.len(), 25);
    }
}

/// What is read of a file before it is opened may be read while another program makes the file, or
/// while the last one that had it open puts its log away.
#[test]
fn a_file_that_others_make_and_leave_is_never_taken_for_a_foreign_or_a_broken_one() {
    for _ in 0..50 {
        let (_dir, path) = file();
        let start = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..5 {
                        let opened = Store::open(&path, Duration::from_secs(30)).unwrap();
                        assert!(opened.note.is_none(), "{:?}", opened.note);
                    }
                });
            }
        });
    }
}

#[test]
fn ten_thousand_messages_are_listed_searched_and_opened_quickly() {
    let (_dir, path) = file();
    let mut store = open(&path);
    let mut id = 0;
    for conversation in 0..100 {
        let turns: Vec<Said> = (0..50)
            .map(|turn| {
                id += 1;
                let parent = (turn > 0).then_some(id - 1);
                said(id, parent, &format!("question {id} of bees"), &"words of honey ".repeat(40))
            })
            .collect();
        store.save(&head(conversation, "some title", id), &turns, 1).unwrap();
    }
    drop(store);
    let begun = Instant::now();
    let store = open(&path);
    assert_eq!(store.list("").unwrap().len(), 100);
    let listed = begun.elapsed();
    let begun = Instant::now();
    assert_eq!(store.list("question 4321").unwrap().len(), 1);
    let common = store.list("honey").unwrap();
    let searched = begun.elapsed();
    let begun = Instant::now();
    assert_eq!(store.load(ConversationId(3)).unwrap().turns.len(), 50);
    let opened = begun.elapsed();
    println!("listed {listed:?}, searched twice {searched:?}, opened {opened:?}");
    assert!(!common.is_empty() && listed + searched + opened < Duration::from_secs(3));
}

#[test]
fn what_goes_on_from_a_turn_that_was_deleted_is_saved_with_it_or_not_at_all() {
    let (_dir, path) = file();
    let (mut store, other) = (open(&path), open(&path));
    let turns = [said(1, None, "first", "a"), said(2, Some(1), "second", "b")];
    assert!(store.save(&head(7, "t", 1), &turns[..1], 1).unwrap());
    other.delete(ConversationId(7)).unwrap();
    assert!(!store.save(&head(7, "t", 2), &turns[1..], 2).unwrap());
    assert_eq!(titles(&store, ""), Vec::<String>::new(), "all or nothing");
    assert!(store.save(&head(7, "t", 2), &turns, 3).unwrap());
    assert_eq!(other.load(ConversationId(7)).unwrap().turns, turns);
}

#[test]
fn a_conversation_is_opened_within_its_bounds_and_a_circle_ends() {
    let (_dir, path) = file();
    let mut store = open(&path);
    let count = i64::try_from(MAX_TURNS).unwrap() + 10;
    let turns: Vec<Said> =
        (1..=count).map(|id| said(id, (id > 1).then_some(id - 1), "q", "a")).collect();
    store.save(&head(1, "long", count), &turns, 1).unwrap();
    let loaded = store.load(ConversationId(1)).unwrap();
    assert_eq!((loaded.turns.len(), loaded.is_cut), (MAX_TURNS, true));
    assert_eq!(loaded.turns.last().unwrap().id, TurnId(count));
    let circle = [said(9001, None, "q", "a"), said(9002, Some(9001), "q", "a")];
    store.save(&head(2, "round", 9001), &circle, 1).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute("UPDATE turns SET parent = 9002 WHERE id = 9001", []).unwrap();
    assert_eq!(store.load(ConversationId(2)).unwrap().turns.len(), MAX_TURNS);
    let huge = said(8000, None, "q", &"a".repeat(MAX_ANSWER_BYTES + 1));
    assert_eq!(store.save(&head(3, "huge", 8000), &[huge], 1).unwrap_err().code, Code::TooLarge);
    assert_eq!(titles(&store, "huge"), Vec::<String>::new(), "all or nothing");
}

#[test]
fn an_export_is_readable_by_people_and_programs_and_overwrites_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut turns = vec![said(1, None, "What is `it`?", "It **is**.")];
    turns.push(Said { end: End::Cancelled, ..said(2, Some(1), "more", "ha") });
    let head = head(1, "../What is it? / Ünï", 2);
    let conversation = Conversation { head, turns, is_cut: false };
    let first = export::write(&conversation, Format::Markdown, dir.path()).unwrap();
    let second = export::write(&conversation, Format::Markdown, dir.path()).unwrap();
    assert_eq!(first, dir.path().join("what-is-it-ünï.md"));
    assert_eq!(second, dir.path().join("what-is-it-ünï-2.md"));
    let text = fs::read_to_string(first).unwrap();
    let wanted = "# ../What is it? / Ünï\n\n## Instructions\n\nbe brief\n\n## You\n\n\
                  What is `it`?\n\n## demo on pc cuda:0\n\n> because\n\nIt **is**.\n\n## You\n\n\
                  more\n\n## demo on pc cuda:0\n\n> because\n\nha\n\n*(cancelled)*\n";
    assert_eq!(text, wanted);
    let path = export::write(&conversation, Format::Json, dir.path()).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(json["turns"][1]["end"], "cancelled");
    assert_eq!(json["settings"]["temperature"], 0.25);
    assert_eq!(json["turns"][0]["end"]["done"]["usage"]["completion_tokens"], 2);
}

fn desk(path: &Path) -> (Desk, Receiver<Reply>) {
    let (told, replies) = sync_channel(64);
    let tell = move |reply| drop(told.send(reply));
    (Desk::open(path.to_owned(), || 5, tell).unwrap(), replies)
}

fn next(replies: &Receiver<Reply>) -> Reply {
    replies.recv_timeout(Duration::from_secs(30)).unwrap()
}

#[test]
fn a_desk_goes_on_after_a_lock_is_gone_and_writes_everything_before_it_closes() {
    let (_dir, path) = file();
    let save = || {
        let turns = vec![said(1, None, "q", "a")];
        Job::Save(Box::new(Save { head: head(1, "t", 1), turns }))
    };
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let (desk, replies) = desk(&path);
    assert!(matches!(next(&replies), Reply::Failed(fault) if fault.message.contains("locked")));
    desk.give(save()).unwrap();
    assert!(matches!(next(&replies), Reply::NotSaved(ConversationId(1), _)));
    other.execute_batch("ROLLBACK").unwrap();
    desk.give(save()).unwrap();
    let bytes = "q".len() + "a".len() + "because".len();
    assert!(matches!(next(&replies), Reply::Saved(turns) if turns == [(TurnId(1), bytes)]));
    for number in 0..20 {
        desk.give(Job::Rename(ConversationId(1), format!("title {number}"))).unwrap();
    }
    desk.close();
    assert_eq!(titles(&open(&path), ""), ["title 19"]);
    assert!(
        !path.with_file_name("conversations.db-wal").exists() || replies.try_iter().count() > 0
    );
}

#[test]
fn settings_outside_their_ranges_are_refused_by_name() {
    assert_eq!(Settings::default().check(), Ok(()));
    let refused = |settings: Settings| settings.check().unwrap_err().name;
    let of = |sampling| Settings { sampling, ..Settings::default() };
    let hot = SamplingFields { temperature: Some(3.0), ..SamplingFields::default() };
    assert_eq!(refused(of(hot)), "temperature");
    assert_eq!(refused(Settings { ctx_size: Some(1), ..Settings::default() }), "context");
    let system = Some("x".repeat(MAX_SYSTEM_BYTES + 1));
    assert_eq!(refused(Settings { system, ..Settings::default() }), "system prompt");
}
