//! How everything is, in one line: what there is, what runs short, who is late.

use std::time::Duration;

use ratatui::style::Style;
use wire::device::{Backend, DeviceInfo};

use super::{ago, device};
use crate::output::progress::bytes;
use crate::tui::look::Look;
use crate::tui::overlay::Overlay;
use crate::tui::rows::width;
use crate::tui::state::State;

/// A hive that said nothing for longer is named.
const LATE: Duration = Duration::from_secs(5);
/// Late hives that are named; more are counted.
const MAX_NAMED: usize = 2;

type Part = (String, Style);

/// What there is, in `columns`; what there is no room for is left out from its end.
pub fn parts(state: &State, look: &Look, columns: usize) -> Vec<Part> {
    if let Some(Overlay::Filter(_)) = state.overlay {
        let words = "filter: type words of a row; Enter keeps it, Esc shows all";
        return vec![(words.to_owned(), look.accent())];
    }
    let mut parts = vec![(totals(state), look.muted())];
    let mut more: Vec<Part> = Vec::new();
    let warnings = warnings(state);
    if warnings > 0 {
        more.push((format!("{warnings} warning{}", plural(warnings)), look.warning()));
    }
    more.extend(state.lanes.rate().map(|rate| (format!("{rate:.1} tokens/s"), look.muted())));
    more.extend(late(state).map(|words| (words, look.warning())));
    more.extend(memory(state).map(|words| (words, look.muted())));
    let mut room = columns.saturating_sub(parts.iter().map(|(text, _)| width(text)).sum());
    for (words, style) in more {
        let cells = width(&words) + 3;
        if cells <= room {
            room -= cells;
            parts.extend([(" · ".to_owned(), look.muted()), (words, style)]);
        }
    }
    parts
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn totals(state: &State) -> String {
    let hives = state.board.hives().len();
    let online = state.board.hives().filter(|(name, _)| state.board.is_online(name)).count();
    let workers = state.live_workers();
    format!("{online} of {hives} hive{} online, {workers} worker{}", plural(hives), plural(workers))
}

fn warnings(state: &State) -> usize {
    let pictures = state.board.hives().filter_map(|(name, _)| state.board.picture(name));
    pictures.map(|hive| hive.warnings.len()).sum()
}

/// Who is online and has not been heard for a while.
fn late(state: &State) -> Option<String> {
    let late: Vec<(String, Duration)> = state
        .board
        .hives()
        .filter_map(|(name, _)| {
            let heard = state.now.saturating_sub(state.board.picture(name)?.heard);
            (heard > LATE).then(|| (name.to_string(), heard))
        })
        .collect();
    let named = late.iter().take(MAX_NAMED).map(|(name, time)| format!("{name} {}", ago(*time)));
    let named = named.collect::<Vec<_>>().join(", ");
    let more = late.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!late.is_empty()).then(|| format!("not heard for: {named}{more}"))
}

/// Free memory of all: that of GPUs, where there are any.
fn memory(state: &State) -> Option<String> {
    let pictures = state.board.hives().filter_map(|(name, _)| state.board.picture(name));
    let devices: Vec<&DeviceInfo> = pictures.flat_map(|hive| &hive.devices).collect();
    let is_gpu = |info: &&&DeviceInfo| info.device.backend != Backend::Cpu;
    let gpus: Vec<&DeviceInfo> = devices.iter().filter(is_gpu).copied().collect();
    let (devices, word) = if gpus.is_empty() { (devices, "RAM") } else { (gpus, "VRAM") };
    let here = devices.iter().filter(|info| device::lost(info).is_none());
    let known = here.filter_map(|info| device::memory(info));
    let (free, total) = known.fold((0_u64, 0_u64), |(free, total), memory| {
        (free.saturating_add(memory.free()), total.saturating_add(memory.total))
    });
    (total > 0).then(|| format!("{} of {} {word} free", bytes(free), bytes(total)))
}
