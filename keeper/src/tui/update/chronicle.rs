//! What is written down of what happened: changes of hives and workers, outcomes, failures.

use wire::Fault;
use wire::text::one_line;
use wire::worker::WorkerState;

use crate::fleet::Moment;
use crate::link::watch::Standing;
use crate::tui::board::Board;
use crate::tui::diary::{Diary, Weight};
use crate::tui::event::News;

/// Bytes of what a hive said in a sentence.
const MAX_WHY_BYTES: usize = 200;

/// Notes what is different between two pictures of the hives.
pub fn note(diary: &mut Diary, old: &Board, new: &Board, now: Moment) {
    note_standings(diary, old, new, now);
    for (name, _) in new.hives() {
        let Some(hive) = new.picture(name) else { continue };
        let before = old.picture(name);
        let known = before.map(|hive| hive.warnings.as_slice()).unwrap_or_default();
        for warning in hive.warnings.iter().filter(|warning| !known.contains(warning)) {
            diary.write(now, Some(name), Weight::Warning, &warning.sentence());
        }
        if hive.warnings.is_empty() && !known.is_empty() {
            diary.write(now, Some(name), Weight::Good, "nothing runs short any more");
        }
        // What a hive says when it is heard first is its state, and no change of it.
        let Some(before) = before else { continue };
        for (id, worker) in &hive.workers {
            let state = before.workers.get(id).map(|worker| &worker.state);
            let is_new = state.map(WorkerState::name) != Some(worker.state.name());
            // Requests come and go too often to be news.
            let is_routine = matches!(worker.state, WorkerState::Busy)
                || (worker.state == WorkerState::Ready && state == Some(&WorkerState::Busy));
            if is_new && !is_routine {
                let (weight, words) = of_worker(&worker.state);
                diary.write(now, Some(name), weight, &format!("{id} {words}"));
            }
        }
        for id in before.workers.keys().filter(|id| !hive.workers.contains_key(id)) {
            diary.write(now, Some(name), Weight::Plain, &format!("{id} is gone"));
        }
    }
}

fn note_standings(diary: &mut Diary, old: &Board, new: &Board, now: Moment) {
    for (name, stand) in new.hives() {
        let before = old.stand(name).map(|stand| std::mem::discriminant(&stand.standing));
        if before == Some(std::mem::discriminant(&stand.standing)) {
            continue;
        }
        let why = |fault: &Fault| one_line(&fault.message, MAX_WHY_BYTES);
        let (weight, words) = match &stand.standing {
            Standing::Online => (Weight::Good, "online".to_owned()),
            Standing::Connecting => continue,
            Standing::Stopped => (Weight::Plain, "no agent runs there".to_owned()),
            Standing::Unreachable { why: fault, .. } => {
                (Weight::Error, format!("unreachable: {}", why(fault)))
            }
            Standing::Refused { why: fault } => (Weight::Error, format!("refused: {}", why(fault))),
        };
        diary.write(now, Some(name), weight, &words);
    }
}

/// How a worker is, as the end of a sentence.
fn of_worker(state: &WorkerState) -> (Weight, String) {
    match state {
        WorkerState::Ready => (Weight::Good, "is ready".to_owned()),
        WorkerState::Crashed { exit, .. } => (Weight::Error, format!("crashed: {exit}")),
        WorkerState::Failed { why, .. } => {
            (Weight::Error, format!("failed: {}", one_line(why, MAX_WHY_BYTES)))
        }
        WorkerState::Stale => (Weight::Warning, "does not answer".to_owned()),
        WorkerState::Restarting { attempt: 0 } => (Weight::Plain, "is started again".to_owned()),
        WorkerState::Restarting { attempt } => {
            (Weight::Warning, format!("is started again, attempt {attempt}"))
        }
        WorkerState::Stopped => (Weight::Plain, "stopped".to_owned()),
        other => (Weight::Plain, format!("is {}", other.name())),
    }
}

/// Notes what became of something that was asked for.
pub fn note_outcome(diary: &mut Diary, outcome: &Result<String, Fault>, now: Moment) {
    match outcome {
        Ok(line) => diary.write(now, None, Weight::Good, line),
        Err(fault) => diary.write(now, None, Weight::Error, &fault.message),
    }
}

/// Notes what matters of a request: that it failed, and who did not take part.
pub fn note_news(diary: &mut Diary, news: &News, now: Moment) {
    match news {
        News::Ended(Err(Some(fault))) => {
            diary.write(now, None, Weight::Error, &format!("a request failed: {}", fault.message));
        }
        News::Absent(hive, why) => {
            let words = format!("takes no part: {}", why.message);
            diary.write(now, Some(hive), Weight::Warning, &words);
        }
        News::Silent(hive, Some(time)) => {
            let words = format!("silent for {} s while it answers", time.as_secs());
            diary.write(now, Some(hive), Weight::Warning, &words);
        }
        _ => {}
    }
}
