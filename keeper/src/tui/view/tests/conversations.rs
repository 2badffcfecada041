//! Conversations that are kept: saved as they go, found, opened, gone on with.

use super::*;
use crate::conversations::desk::{Job, Reply, Save};
use crate::conversations::export::Format;
use crate::conversations::{
    Conversation, ConversationId, End, Entry, Head, Said, Settings, TurnId,
};
use crate::tui::archive;
use crate::tui::chat::Phase;

fn saving(columns: u16, rows: u16) -> State {
    let mut state = state(columns, rows);
    state.archive.begin(4000);
    state
}

/// What was asked, and what shall be saved because of it.
fn asked_and_saved(state: &mut State, question: &str) -> (u64, Save) {
    write(state, question);
    match press(state, &["enter"]).as_slice() {
        [Effect::Ask(wanted), Effect::Conversations(Job::Save(save))] => {
            (wanted.id, (**save).clone())
        }
        other => panic!("a request and a job, not {other:?}"),
    }
}

fn saved(effects: &[Effect]) -> &Save {
    match effects {
        [Effect::Conversations(Job::Save(save))] => save,
        other => panic!("one job, not {other:?}"),
    }
}

fn heard(state: &mut State, reply: Reply) -> Vec<Effect> {
    let now = state.now;
    update(state, Event::Conversations(reply), now)
}

fn entry(id: i64, title: &str) -> Entry {
    Entry {
        id: ConversationId(id),
        title: title.to_owned(),
        model: "demo".to_owned(),
        turns: 2,
        changed_ms: 1_000_000,
        found: None,
    }
}

fn stored(id: i64, answer: &str) -> Conversation {
    let settings = Settings { system: Some("be brief".to_owned()), ..Settings::default() };
    let said = Said {
        id: TurnId(11),
        parent: None,
        question: "What is a hive?".to_owned(),
        answer: answer.to_owned(),
        reasoning: String::new(),
        model: ModelRef::Demo,
        place: None,
        end: End::Open,
    };
    let head = Head {
        id: ConversationId(id),
        title: "Bees".to_owned(),
        model: ModelRef::Demo,
        hive: None,
        settings,
        last: Some(TurnId(11)),
    };
    Conversation { head, turns: vec![said], is_cut: false }
}

#[test]
fn a_question_is_saved_when_it_is_asked_and_its_answer_when_it_ends() {
    let mut state = saving(100, 30);
    let (id, save) = asked_and_saved(&mut state, "# What is a **hive**?");
    assert_eq!((save.head.title.as_str(), save.turns.len()), ("What is a hive?", 1));
    assert_eq!((save.turns[0].parent, &save.turns[0].end), (None, &End::Open));
    let first = save.turns[0].id;
    assert_eq!(update(&mut state, Event::Answer(id, piece("A machine.")), at(63)), []);
    let late = update(&mut state, Event::Answer(id, piece(" Yes.")), at(70));
    assert_eq!(saved(&late).turns[0].answer, "A machine. Yes.", "what came is safe after seconds");
    let ended = update(&mut state, Event::Answer(id, News::Ended(Ok(ending()))), at(71));
    let last = saved(&ended);
    assert!(matches!(last.turns[0].end, End::Done { first_token_ms: Some(120), .. }));
    assert_eq!((last.turns[0].id, last.head.last), (first, Some(first)));
    let _ = heard(&mut state, Reply::Saved(vec![(first, 0)]));
    assert_eq!(archive::rest(&mut state), []);
    let (_, next) = asked_and_saved(&mut state, "And a worker?");
    assert_eq!((next.head.id, next.turns[0].parent), (save.head.id, Some(first)));
}

#[test]
fn what_came_is_saved_when_the_program_is_left_in_the_middle() {
    let mut state = saving(100, 30);
    let (id, _) = asked_and_saved(&mut state, "tell");
    let _ = update(&mut state, Event::Answer(id, piece("once upon")), at(62));
    let rest = archive::rest(&mut state);
    let [Job::Save(save)] = rest.as_slice() else { panic!("{rest:?}") };
    assert_eq!((save.turns[0].answer.as_str(), &save.turns[0].end), ("once upon", &End::Open));
}

#[test]
fn what_could_not_be_saved_is_said_and_saved_later_with_the_next() {
    let mut state = saving(100, 30);
    let (id, save) = asked_and_saved(&mut state, "one");
    let fault = Fault::new(Code::Io, "conversations are not saved: it is locked");
    assert_eq!(heard(&mut state, Reply::NotSaved(save.head.id, fault)), []);
    assert!(screen(&mut state).contains("conversations are not saved"));
    let ended = update(&mut state, Event::Answer(id, News::Ended(Ok(ending()))), at(63));
    assert_eq!(ended, [], "a disk that refuses is not asked with every event");
    let again = update(&mut state, Event::Tick, at(120));
    assert_eq!(saved(&again).turns[0].id, save.turns[0].id);
}

#[test]
fn conversations_are_found_opened_and_gone_on_with() {
    let mut state = saving(80, 24);
    let asked_for = press(&mut state, &["f3"]);
    assert_eq!(asked_for, [Effect::Conversations(Job::List(String::new(), 1))]);
    assert!(screen(&mut state).contains("reading…"));
    assert_eq!(
        press(&mut state, &["b", "e"]).last(),
        Some(&Effect::Conversations(Job::List("be".to_owned(), 3)))
    );
    let mut bees = entry(7, "Bees");
    bees.found = Some("the queen \u{2026} of bees".to_owned());
    let _ = heard(&mut state, Reply::Listed(3, vec![bees, entry(8, "Beetles")], 1_200_000));
    let _ = heard(&mut state, Reply::Listed(2, Vec::new(), 0));
    let shown = screen(&mut state);
    for words in [
        "› be      ",
        "2 found",
        "│ Bees  the queen … of bees  ",
        "demo  2 turns     3m │",
        "F2 rename",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let load = press(&mut state, &["down", "up", "enter"]);
    assert_eq!(load, [Effect::Conversations(Job::Load(ConversationId(7)))]);
    let _ = heard(&mut state, Reply::Loaded(Box::new(stored(7, "A machine"))));
    let shown = screen(&mut state);
    assert!(shown.contains("A machine") && shown.contains("it was left before"), "{shown}");
    write(&mut state, "go on");
    let effects = press(&mut state, &["enter"]);
    let [Effect::Ask(wanted), Effect::Conversations(Job::Save(save))] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    let said: Vec<&str> = wanted.messages.iter().map(|it| it.content.as_str()).collect();
    assert_eq!(said, ["be brief", "What is a hive?", "A machine", "go on"]);
    assert_eq!((save.head.id, save.turns.len()), (ConversationId(7), 1));
    assert_eq!((save.head.title.as_str(), save.turns[0].parent), ("Bees", Some(TurnId(11))));
}

#[test]
fn a_conversation_is_renamed_exported_and_deleted_after_a_question() {
    let mut state = saving(100, 30);
    let _ = press(&mut state, &["f3"]);
    let _ = heard(&mut state, Reply::Listed(1, vec![entry(7, "Bees")], 1_200_000));
    let renamed = press(&mut state, &["f2", "ctrl-u", "x", "y", "enter"]);
    let id = ConversationId(7);
    assert_eq!(renamed, [Effect::Conversations(Job::Rename(id, "xy".to_owned()))]);
    let exported = press(&mut state, &["ctrl-x", "j"]);
    assert_eq!(exported, [Effect::Conversations(Job::Export(id, Format::Json, ".".into()))]);
    assert_eq!(press(&mut state, &["ctrl-d", "q", "n"]), []);
    assert_eq!(press(&mut state, &["ctrl-d"]), []);
    assert!(screen(&mut state).contains("delete it for ever"));
    assert_eq!(press(&mut state, &["y"]), [Effect::Conversations(Job::Delete(id))]);
    let again = heard(&mut state, Reply::Deleted(id));
    assert!(matches!(again.as_slice(), [Effect::Conversations(Job::List(..))]), "{again:?}");
    assert_eq!(press(&mut state, &["esc"]), []);
    assert!(state.overlay.is_none());
}

#[test]
fn a_conversation_that_is_deleted_while_it_is_shown_is_gone_and_does_not_come_back() {
    let mut state = saving(100, 30);
    let _ = heard(&mut state, Reply::Loaded(Box::new(stored(7, "A machine"))));
    let _ = heard(&mut state, Reply::Deleted(ConversationId(7)));
    assert!(state.chat().turns.is_empty());
    assert_eq!(archive::rest(&mut state), []);
}

#[test]
fn an_answer_that_comes_is_not_lost_to_another_conversation() {
    let mut state = saving(100, 30);
    let (id, _) = asked_and_saved(&mut state, "tell");
    let _ = heard(&mut state, Reply::Loaded(Box::new(stored(7, "A machine"))));
    assert_eq!(state.chat().running().map(|turn| turn.id), Some(id));
    assert!(screen(&mut state).contains("Esc cancels it"));
    let ended = update(&mut state, Event::Answer(id, News::Ended(Err(None))), at(63));
    assert_eq!(saved(&ended).turns[0].end, End::Cancelled);
    let _ = heard(&mut state, Reply::Loaded(Box::new(stored(7, "A machine"))));
    assert_eq!(state.chat().turns[0].phase, Phase::Left);
}

fn answered(state: &mut State, question: &str, answer: &str) {
    let (id, _) = asked_and_saved(state, question);
    let _ = update(state, Event::Answer(id, piece(answer)), at(63));
    let _ = update(state, Event::Answer(id, News::Ended(Ok(ending()))), at(64));
}

fn said(wanted: &crate::tui::event::Wanted) -> Vec<&str> {
    wanted.messages.iter().map(|it| it.content.as_str()).collect()
}

#[test]
fn an_edited_question_takes_the_place_of_what_followed_when_it_is_sent_and_not_before() {
    let mut state = saving(100, 40);
    for number in ["one", "two", "three"] {
        answered(&mut state, number, &format!("answer {number}"));
    }
    assert_eq!(press(&mut state, &["esc", "e"]), []);
    assert_eq!(state.draft.editor.text(), "three");
    assert_eq!(press(&mut state, &["ctrl-c"]), [], "it can be left");
    assert_eq!((state.editing, state.chat().turns.len()), (None, 3));
    let _ = press(&mut state, &["esc", "e", "alt-e", "!"]);
    assert_eq!((state.draft.editor.text(), state.chat().turns.len()), ("two!", 3));
    assert!(screen(&mut state).contains("question 2 of 3"), "{}", screen(&mut state));
    let first = state.chat().turns[0].id;
    let effects = press(&mut state, &["enter"]);
    let [Effect::Ask(wanted), Effect::Conversations(Job::Save(save))] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(said(wanted), ["one", "answer one", "two!"]);
    let base = save.head.id.0 - i64::try_from(first).unwrap();
    assert_eq!(save.turns[0].parent, Some(TurnId(base + i64::try_from(first).unwrap())));
    assert_eq!((save.turns.len(), save.head.last), (1, Some(save.turns[0].id)));
}

#[test]
fn the_last_question_is_answered_again_and_its_old_answer_is_no_parent_of_the_new_one() {
    let mut state = saving(100, 40);
    assert_eq!(press(&mut state, &["ctrl-r"]), []);
    assert!(screen(&mut state).contains("nothing was asked yet"));
    answered(&mut state, "one", "a");
    let before = saved_head(&mut state);
    let effects = press(&mut state, &["ctrl-r"]);
    let [Effect::Ask(wanted), Effect::Conversations(Job::Save(save))] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(said(wanted), ["one"]);
    assert_eq!((save.head.id, save.turns[0].parent), (before, None));
    assert_eq!(press(&mut state, &["ctrl-r"]), [], "one at a time");
}

fn saved_head(state: &mut State) -> ConversationId {
    state.chat().record.id.unwrap()
}

#[test]
fn settings_are_checked_shown_and_go_with_the_next_question() {
    let mut state = saving(80, 24);
    answered(&mut state, "one", "a");
    let _ = press(&mut state, &["f4"]);
    write(&mut state, "Be brief.\nAlways.");
    let _ = press(&mut state, &["tab", "3", "enter"]);
    let shown = screen(&mut state);
    for words in [
        "system prompt  Be brief.  ",
        "               Always.",
        "temperature    3",
        "top-p          0.95, the default  ",
        "seed           another one each time, the default  ",
        "error: temperature is a number from 0 to 2",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let effects = press(&mut state, &["backspace", "0", ".", "2", "enter"]);
    assert!(state.overlay.is_none());
    let head = &saved(&effects).head;
    assert_eq!(head.settings.system.as_deref(), Some("Be brief.\nAlways."));
    write(&mut state, "two");
    let effects = press(&mut state, &["enter"]);
    let Some(Effect::Ask(wanted)) = effects.first() else { panic!("{effects:?}") };
    assert_eq!(said(wanted), ["Be brief.\nAlways.", "one", "a", "two"]);
    assert_eq!(wanted.settings.sampling.temperature, Some(0.2));
    let _ = press(&mut state, &["f4", "tab", "9", "esc"]);
    assert_eq!(state.chat().record.settings.sampling.temperature, Some(0.2), "Esc takes nothing");
}
