//! A device's row: as many of its figures as there is room for, the most telling first.
//!
//! ```text
//!   cuda:0  ████▓▒░░░░ 14.1 of 24.0 GiB  ▁▂▅▇█▅ 87%  64°C  212 W  NVIDIA …
//!           ours 10.1, others 4.0, reserved 2.0, free 7.9 GiB
//! ```

use ratatui::style::Style;
use wire::device::DeviceInfo;
use wire::text;

use super::meter::{self, Memory};
use crate::output::progress::bytes;
use crate::tui::look::Look;
use crate::tui::rows::width;
use crate::tui::trace::Trace;

/// Bytes of what a hive says of itself.
const MAX_SAID_BYTES: usize = 200;
/// Columns of a device's short name.
const DEVICE: usize = 8;
/// Columns of a row that has room for everything.
const ROOMY: usize = 70;
/// From so many degrees on a device gets no new worker.
const HOT_CELSIUS: i32 = 85;

type Part = (String, Style);

/// What its memory is used for; none where its size or its use is not known.
pub fn memory(info: &DeviceInfo) -> Option<Memory> {
    let total = info.memory_total_bytes.filter(|total| *total > 0)?;
    let used = info.memory_used_bytes?;
    let ours = info.memory_ours_bytes.map(|ours| ours.min(used));
    let others = used.saturating_sub(ours.unwrap_or(0));
    Some(Memory { total, ours, others, reserved: info.memory_reserved_bytes.unwrap_or(0) })
}

/// Its row in `columns`.
pub fn row(look: &Look, info: &DeviceInfo, trace: Option<&Trace>, columns: usize) -> Vec<Part> {
    let roomy = columns >= ROOMY;
    let mut parts = vec![(format!("  {:<DEVICE$}", info.device.to_string()), look.text())];
    if let Some(words) = lost(info) {
        parts.push((words.to_owned(), look.error()));
        return parts;
    }
    match (memory(info), info.memory_total_bytes) {
        (Some(memory), _) => {
            let cells = if roomy { (columns / 5).clamp(12, 24) } else { 10 };
            parts.extend(meter::memory(look, memory, cells));
            parts.push((format!(" {:<17}", used_of(memory)), look.text()));
        }
        (None, Some(total)) => {
            parts.push((format!("{}, use not reported", bytes(total)), look.muted()));
        }
        (None, None) => parts.push(("memory not reported".to_owned(), look.muted())),
    }
    let mut room = columns.saturating_sub(parts.iter().map(|(text, _)| width(text)).sum());
    // A figure that has no room is left out, and those after it that have room are not.
    for figure in figures(look, info, trace, roomy) {
        let wide: usize = figure.iter().map(|(text, _)| width(text)).sum();
        if wide <= room {
            room -= wide;
            parts.extend(figure);
        }
    }
    let name = info.name.as_deref().map(|name| text::one_line(name, MAX_SAID_BYTES));
    if let Some(name) = name.filter(|_| room > 8) {
        // Where the whole name has no room, what tells two devices apart stands at its end.
        let whole = width(&name) + 2 <= room;
        let short = name.trim_start_matches("NVIDIA ").trim_start_matches("GeForce ");
        parts.push((format!("  {}", if whole { &name } else { short }), look.muted()));
    }
    parts
}

/// Its figures besides the memory, in the order of the screen.
fn figures(look: &Look, info: &DeviceInfo, trace: Option<&Trace>, roomy: bool) -> Vec<Vec<Part>> {
    let mut figures = Vec::new();
    let busy = info.utilisation_percent.map(|percent| format!(" {:>4}", format!("{percent}%")));
    let spark = trace.filter(|trace| roomy && !trace.is_empty()).map(|trace| trace.columns(10));
    if let Some(spark) = spark {
        figures.push(vec![(format!("  {}", meter::spark(look, &spark)), look.ok())]);
    }
    figures.extend(busy.map(|busy| vec![(busy, look.text())]));
    if let Some(celsius) = info.temperature_celsius {
        let style = if celsius >= HOT_CELSIUS { look.warning() } else { look.muted() };
        let hot = if celsius >= HOT_CELSIUS { "!" } else { "" };
        figures.push(vec![(format!(" {:>5}", format!("{celsius}°C{hot}")), style)]);
    }
    if let Some(drawn) = info.power_milliwatts {
        figures.push(vec![(format!(" {:>5}", format!("{}W", drawn / 1000)), look.muted())]);
    }
    figures
}

fn used_of(memory: Memory) -> String {
    let (used, total) = (bytes(memory.used()), bytes(memory.total));
    match (used.split_once(' '), total.split_once(' ')) {
        // The unit is said once where it is one.
        (Some((number, unit)), Some((_, whole))) if unit == whole => format!("{number} of {total}"),
        _ => format!("{used} of {total}"),
    }
}

/// Why it has no figures, when it is not there any more.
pub fn lost(info: &DeviceInfo) -> Option<&'static str> {
    if info.lost_since_unix_s.is_some() {
        return Some("lost: it cannot be reached any more");
    }
    info.silent_since_unix_s.map(|_| "its driver does not answer")
}

/// Whether there is more to say of it than its row has.
pub fn has_details(info: &DeviceInfo) -> bool {
    memory(info).is_some_and(|memory| memory.ours.is_some()) && lost(info).is_none()
}

/// How its memory is divided, in numbers.
pub fn details(look: &Look, info: &DeviceInfo, columns: usize) -> Vec<Part> {
    let Some(memory) = memory(info) else { return Vec::new() };
    let [ours, others, reserved, free] = look.shapes.memory;
    let words = [
        (ours, "ours", memory.ours.unwrap_or(0), look.bar()),
        (others, "others", memory.others, look.accent()),
        (reserved, "reserved", memory.reserved, look.hint()),
        (free, "free", memory.free(), look.track()),
    ];
    if columns < ROOMY {
        // In the order of the bar.
        let words = words.map(|(_, word, count, _)| format!("{word} {:.1}", gib(count)));
        return vec![(format!("  {} GiB", words.join(" ")), look.muted())];
    }
    let mut parts = vec![(" ".repeat(DEVICE + 2), look.text())];
    for (shape, word, count, style) in words {
        parts.push((shape.to_owned(), style));
        parts.push((format!(" {word} {}  ", bytes(count)), look.muted()));
    }
    parts
}

#[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
fn gib(count: u64) -> f64 {
    count as f64 / f64::from(1 << 30)
}
