//! The workers of all hives: a row each.
//!
//! ```text
//! MODEL         HIVE   DEVICE  STATE     BUSY    UNLOAD
//! demo          local  cpu     busy      1/1 +2  29m
//! hf:org/repo   pc     cuda:0  ███░ 43%  0/1     -
//! ```

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use wire::worker::{WorkerInfo, WorkerState};
use wire::{HiveName, text};

use super::layout::{Places, inside};
use super::{ago, bar, line, panel, row, titled};
use crate::tui::look::Look;
use crate::tui::panels::{WorkerOrder, scrolled};
use crate::tui::rows::{elide, width};
use crate::tui::state::{Focus, State};

/// Bytes of a model's name.
const MAX_NAME_BYTES: usize = 128;

/// Columns of the mark before a row, and of the air behind it.
const MARK: usize = 2;
/// Columns of each column but the first, which takes what is left.
const HIVE: usize = 8;
const DEVICE: usize = 7;
const STATE: usize = 17;
const REQUESTS: usize = 8;
const RATE: usize = 7;
const UNLOAD: usize = 7;
/// How long the pace of a worker counts that was heard last.
const PACE_LASTS: Duration = Duration::from_secs(5);
/// Columns of the first one for which the others give way.
const MODEL: usize = 9;

/// Draws the panel.
pub fn draw(state: &State, look: &Look, places: &Places, frame: &mut Frame<'_>) {
    if places.workers.is_empty() {
        return;
    }
    let focused = state.focus == Focus::Workers;
    let workers = state.workers();
    if places.framed {
        panel(frame, places.workers, look, &title(state, workers.len()), focused);
    }
    let place = inside(places.workers, places.framed);
    if workers.is_empty() {
        let words = if state.panels.workers.is_empty() {
            "no model is loaded; a message loads one"
        } else {
            "no worker has that; Esc shows all"
        };
        line(frame, row(place, 0), look, &[(words.to_owned(), look.muted())], &[]);
        return;
    }
    let columns = Columns::of(usize::from(place.width));
    draw_head(look, &columns, state.panels.worker_order, row(place, 0), frame);
    let (chosen_at, top) = (chosen_at(state, &workers), state.panels.workers_top);
    let height = usize::from(place.height.saturating_sub(1));
    for (index, (hive, worker)) in workers.iter().enumerate().skip(top).take(height) {
        let at = row(place, index - top + 1);
        let marked = state.panels.marked.contains(&((*hive).clone(), worker.id.clone()));
        let age = state.board.age(hive, state.now);
        let of = (hive.as_str(), *worker);
        line(frame, at, look, &of_worker(look, &columns, of, (marked, age)), &[]);
        if focused && index == chosen_at {
            frame.buffer_mut().set_style(at, look.selected());
        }
    }
}

fn title(state: &State, seen: usize) -> String {
    let all = state.board.workers().count();
    let count = if seen == all { format!("{all}") } else { format!("{seen} of {all}") };
    let mut title = titled(state, Focus::Workers, "2 Workers", count);
    if !state.panels.marked.is_empty() {
        title = format!("{title} · {} marked", state.panels.marked.len());
    }
    title
}

/// The heads of the columns; the one that the rows are sorted by is marked.
fn draw_head(
    look: &Look,
    columns: &Columns,
    order: WorkerOrder,
    place: Rect,
    frame: &mut Frame<'_>,
) {
    let head = |name: &str| {
        let mark = if order.column() == name { look.shapes.sorted } else { "" };
        format!("{name}{mark}")
    };
    let cells = columns.cells(["MODEL", "HIVE", "DEVICE", "BUSY", "TOK/S", "UNLOAD"].map(head));
    let [model, hive, device, requests, rate, unload] = cells;
    let state = fit(&head("STATE"), columns.state);
    let head = [fit("", MARK), model, hive, device, state, requests, rate, unload].concat();
    line(frame, place, look, &[(head, look.muted())], &[]);
}

fn chosen_at(state: &State, workers: &[(&HiveName, &WorkerInfo)]) -> usize {
    let Some((hive, id)) = &state.worker else { return 0 };
    workers.iter().position(|(h, worker)| *h == hive && worker.id == *id).unwrap_or(0)
}

/// The worker at a row of the panel's inside; the first one is the heads'.
pub fn at(state: &State, row: usize) -> Option<(&HiveName, &WorkerInfo)> {
    let index = state.panels.workers_top + row.checked_sub(1)?;
    state.workers().into_iter().nth(index)
}

/// The first worker that is seen when the panel has `height` rows inside.
pub fn top(state: &State, height: usize) -> usize {
    let workers = state.workers();
    let (chosen, rows) = (chosen_at(state, &workers), height.saturating_sub(1));
    scrolled(state.panels.workers_top, chosen, rows, workers.len())
}

struct Columns {
    model: usize,
    hive: usize,
    device: usize,
    state: usize,
    requests: usize,
    rate: usize,
    unload: usize,
}

impl Columns {
    /// What is worth least goes first where there is no room.
    fn of(width: usize) -> Self {
        let mut columns = Self {
            model: 0,
            hive: HIVE,
            device: DEVICE,
            state: STATE,
            requests: REQUESTS,
            rate: RATE,
            unload: UNLOAD,
        };
        for narrow in [
            |columns: &mut Self| columns.rate = 0,
            |columns: &mut Self| columns.state = 11,
            |columns: &mut Self| columns.device = 0,
            |columns: &mut Self| columns.requests = 0,
            |columns: &mut Self| columns.unload = 0,
            |columns: &mut Self| columns.hive = 0,
        ] {
            if width >= columns.fixed() + MODEL {
                break;
            }
            narrow(&mut columns);
        }
        columns.model = width.saturating_sub(columns.fixed());
        columns
    }

    fn fixed(&self) -> usize {
        MARK + self.hive + self.device + self.state + self.requests + self.rate + self.unload
    }

    fn cells(&self, cells: [String; 6]) -> [String; 6] {
        let [model, hive, device, requests, rate, unload] = cells;
        [
            fit(&model, self.model),
            fit(&hive, self.hive),
            fit(&device, self.device),
            fit(&requests, self.requests),
            fit(&rate, self.rate),
            fit(&unload, self.unload),
        ]
    }
}

/// `text` in a column, with air behind it.
fn fit(text: &str, columns: usize) -> String {
    if columns == 0 {
        return String::new();
    }
    let text = elide(text, columns - 1);
    let air = columns.saturating_sub(width(&text));
    format!("{text}{}", " ".repeat(air))
}

fn of_worker(
    look: &Look,
    columns: &Columns,
    (hive, worker): (&str, &WorkerInfo),
    (marked, age): (bool, Duration),
) -> Vec<(String, Style)> {
    let lives = !worker.state.is_finished();
    let live = |text: String| if lives { text } else { "-".to_owned() };
    let mut requests = format!("{}/{}", worker.active, worker.spec.slots);
    if worker.queued > 0 {
        requests = format!("{requests} +{}", worker.queued);
    }
    let unload = match (worker.unload_in_s, worker.spec.keep_alive_s) {
        (Some(seconds), _) => left(Duration::from_secs(seconds).saturating_sub(age)),
        (None, -1) => "never".to_owned(),
        (None, _) => "-".to_owned(),
    };
    let model = text::one_line(&worker.spec.model.to_string(), MAX_NAME_BYTES);
    let device = worker.spec.device.to_string();
    // A hive that is not heard any more does not say how fast it is now.
    let pace = worker.tokens_per_s().filter(|_| age < PACE_LASTS);
    let rate = pace.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
    let cells = [model, hive.to_owned(), device, live(requests), live(rate), live(unload)];
    let [model, hive, device, requests, rate, unload] = columns.cells(cells);
    let mark = fit(if marked { look.shapes.marked } else { "" }, MARK);
    let mut parts = vec![
        (mark, look.accent()),
        (model, look.title()),
        (format!("{hive}{device}"), look.text()),
    ];
    parts.extend(of_state(look, columns, worker, age));
    parts.push((format!("{requests}{rate}{unload}"), look.text()));
    parts
}

/// A countdown, to the second in its last minutes.
fn left(time: Duration) -> String {
    let seconds = time.as_secs();
    if (60..600).contains(&seconds) {
        return format!("{}m{:02}s", seconds / 60, seconds % 60);
    }
    ago(time)
}

fn of_state(
    look: &Look,
    columns: &Columns,
    worker: &WorkerInfo,
    age: Duration,
) -> Vec<(String, Style)> {
    let state = &worker.state;
    let style = match state {
        WorkerState::Ready => look.ok(),
        WorkerState::Busy
        | WorkerState::Starting
        | WorkerState::Restarting { .. }
        | WorkerState::Loading { .. } => look.accent(),
        WorkerState::Crashed { .. } | WorkerState::Failed { .. } | WorkerState::Stale => {
            look.error()
        }
        _ => look.muted(),
    };
    if let WorkerState::Loading { bytes_done, bytes_total } = state
        && *bytes_total > 0
    {
        let percent = bytes_done.min(bytes_total).saturating_mul(100) / bytes_total;
        let mut parts =
            bar(look, *bytes_done, *bytes_total, columns.state.saturating_sub(6)).to_vec();
        parts.push((fit(&format!(" {percent}%"), 6), style));
        return parts;
    }
    let restart = worker.supervision.restart_in_ms.map(Duration::from_millis);
    let words = match (state, restart) {
        (WorkerState::Restarting { .. }, Some(time)) if columns.state >= STATE => {
            format!("restart in {}", ago(time.saturating_sub(age)))
        }
        _ => state.name().to_owned(),
    };
    vec![(fit(&words, columns.state), style)]
}
