//! The workers of all hives: a row each.
//!
//! ```text
//! MODEL         HIVE   DEVICE  STATE     BUSY    UNLOAD
//! demo          local  cpu     busy      1/1 +2  29m
//! hf:org/repo   pc     cuda:0  ███░ 43%  0/1     -
//! ```

use std::time::Duration;

use ratatui::Frame;
use ratatui::style::Style;
use wire::text;
use wire::worker::{WorkerInfo, WorkerState};

use super::layout::{Places, inside};
use super::{ago, bar, line, panel, row};
use crate::tui::look::Look;
use crate::tui::rows::{elide, width};
use crate::tui::state::{Focus, State};

/// Bytes of a model's name.
const MAX_NAME_BYTES: usize = 128;

/// Columns of each column but the first, which takes what is left.
const HIVE: usize = 8;
const DEVICE: usize = 7;
const STATE: usize = 17;
const REQUESTS: usize = 8;
const UNLOAD: usize = 7;
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
        panel(frame, places.workers, look, &format!("2 Workers · {}", workers.len()), focused);
    }
    let place = inside(places.workers, places.framed);
    if workers.is_empty() {
        let words = "no model is loaded; a message loads one".to_owned();
        line(frame, row(place, 0), look, &[(words, look.muted())], &[]);
        return;
    }
    let columns = Columns::of(usize::from(place.width));
    let header = columns.cells(["MODEL", "HIVE", "DEVICE", "BUSY", "UNLOAD"].map(str::to_owned));
    let [model, hive, device, requests, unload] = header;
    let state_head = fit("STATE", columns.state);
    let head = [model, hive, device, state_head, requests, unload].concat();
    line(frame, row(place, 0), look, &[(head, look.muted())], &[]);
    let is_chosen =
        |(index, (hive, worker)): (usize, &(&wire::HiveName, &WorkerInfo))| match &state.worker {
            Some((h, id)) => h == *hive && *id == worker.id,
            None => index == 0,
        };
    let chosen_at = workers.iter().enumerate().position(is_chosen).unwrap_or(0);
    let height = usize::from(place.height.saturating_sub(1));
    let skipped = (chosen_at + 1).saturating_sub(height);
    for (index, (hive, worker)) in workers.iter().enumerate().skip(skipped).take(height) {
        let at = row(place, index - skipped + 1);
        line(frame, at, look, &of_worker(look, &columns, hive.as_str(), worker), &[]);
        if focused && index == chosen_at {
            frame.buffer_mut().set_style(at, look.selected());
        }
    }
}

struct Columns {
    model: usize,
    hive: usize,
    device: usize,
    state: usize,
    requests: usize,
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
            unload: UNLOAD,
        };
        for narrow in [
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
        self.hive + self.device + self.state + self.requests + self.unload
    }

    fn cells(&self, [model, hive, device, requests, unload]: [String; 5]) -> [String; 5] {
        [
            fit(&model, self.model),
            fit(&hive, self.hive),
            fit(&device, self.device),
            fit(&requests, self.requests),
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
    hive: &str,
    worker: &WorkerInfo,
) -> Vec<(String, Style)> {
    let lives = !worker.state.is_finished();
    let live = |text: String| if lives { text } else { "-".to_owned() };
    let mut requests = format!("{}/{}", worker.active, worker.spec.slots);
    if worker.queued > 0 {
        requests = format!("{requests} +{}", worker.queued);
    }
    let unload = match (worker.unload_in_s, worker.spec.keep_alive_s) {
        (Some(seconds), _) => ago(Duration::from_secs(seconds)),
        (None, -1) => "never".to_owned(),
        (None, _) => "-".to_owned(),
    };
    let model = text::one_line(&worker.spec.model.to_string(), MAX_NAME_BYTES);
    let device = worker.spec.device.to_string();
    let cells = columns.cells([model, hive.to_owned(), device, live(requests), live(unload)]);
    let [model, hive, device, requests, unload] = cells;
    let mut parts = vec![(model, look.title()), (format!("{hive}{device}"), look.text())];
    parts.extend(of_state(look, columns, &worker.state));
    parts.push((format!("{requests}{unload}"), look.text()));
    parts
}

fn of_state(look: &Look, columns: &Columns, state: &WorkerState) -> Vec<(String, Style)> {
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
    vec![(fit(state.name(), columns.state), style)]
}
