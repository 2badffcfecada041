//! The screen of a state: pure, one file a region.

mod bottom;
mod chat;
mod device;
pub mod events;
pub mod hives;
pub mod inline;
mod lanes;
pub mod layout;
mod meter;
mod overlay;
mod status;
pub mod workers;

#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear};

use super::look::Look;
use super::overlay::Overlay;
use super::panels::Filter;
use super::rows::{elide, width};
use super::state::{Focus, State};

/// Draws a state that was laid out ([`layout::lay_out`]).
pub fn view(state: &State, look: &Look, frame: &mut Frame<'_>) {
    let screen = frame.area();
    frame.buffer_mut().set_style(screen, look.text());
    let places = layout::places(state);
    hives::draw(state, look, &places, frame);
    workers::draw(state, look, &places, frame);
    chat::draw(state, look, &places, frame);
    events::draw(state, look, &places, frame);
    bottom::draw(state, look, &places, frame);
    overlay::draw(state, look, frame);
}

/// The title of a list: its name, how many rows it has, and its filter.
fn titled(state: &State, panel: Focus, name: &str, count: impl Display) -> String {
    let mut title = format!("{name} · {count}");
    let typing = matches!(state.overlay, Some(Overlay::Filter(typing)) if typing.panel == panel);
    let text = state.panels.filter(panel).map(Filter::text).unwrap_or_default();
    if typing || !text.is_empty() {
        let end = if typing { "_" } else { "" };
        title = format!("{title} · /{text}{end}");
    }
    title
}

/// Draws the frame of a panel and gives its inside.
fn panel(frame: &mut Frame<'_>, place: Rect, look: &Look, title: &str, focused: bool) -> Rect {
    let border = if focused { look.focus() } else { look.border() };
    let title_style = if focused { look.focus().patch(look.title()) } else { look.title() };
    let room = usize::from(place.width.saturating_sub(4));
    let title = format!(" {} ", look.shown(&elide(title, room.saturating_sub(2))));
    let block = Block::bordered()
        .border_set(look.shapes.border)
        .border_style(border)
        .title(Line::styled(title, title_style));
    let inner = block.inner(place);
    frame.render_widget(block, place);
    inner
}

/// A box over the middle of the screen, as large as its content or the screen allow.
fn popup(frame: &mut Frame<'_>, look: &Look, title: &str, (columns, rows): (usize, usize)) -> Rect {
    let screen = frame.area();
    let fits = |wanted: usize, most: u16| u16::try_from(wanted).unwrap_or(u16::MAX).min(most);
    let (columns, rows) = (fits(columns + 4, screen.width), fits(rows + 2, screen.height));
    let place = Rect::new((screen.width - columns) / 2, (screen.height - rows) / 2, columns, rows);
    frame.render_widget(Clear, place);
    frame.buffer_mut().set_style(place, look.text());
    let inner = panel(frame, place, look, title, true);
    // A column of air on both sides.
    Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner }
}

/// Draws one line: what stands left is cut where what stands right begins.
fn line(
    frame: &mut Frame<'_>,
    place: Rect,
    look: &Look,
    left: &[(String, Style)],
    right: &[(String, Style)],
) {
    if place.is_empty() {
        return;
    }
    let columns = usize::from(place.width);
    let tail: usize = right.iter().map(|(text, _)| width(text)).sum();
    let (tail, right) = if tail < columns { (tail, right) } else { (0, &[][..]) };
    let mut room = columns.saturating_sub(if tail > 0 { tail + 1 } else { 0 });
    let mut spans: Vec<Span<'_>> = Vec::new();
    for (text, style) in left {
        let text = look.shown(&elide(text, room));
        room = room.saturating_sub(width(&text));
        spans.push(Span::styled(text, *style));
    }
    if tail > 0 {
        spans.push(Span::raw(" ".repeat(room + 1)));
        spans.extend(right.iter().map(|(text, style)| Span::styled(look.shown(text), *style)));
    }
    frame.render_widget(Line::from(spans), place);
}

/// The row `number` of a place; empty when it has not that many.
fn row(place: Rect, number: usize) -> Rect {
    match u16::try_from(number) {
        Ok(number) if number < place.height => Rect { y: place.y + number, height: 1, ..place },
        _ => Rect::default(),
    }
}

/// A bar of `cells` of which a part is full.
fn bar(look: &Look, part: u64, whole: u64, cells: usize) -> [(String, Style); 2] {
    let cells_u64 = u64::try_from(cells).unwrap_or(0);
    let full = part.min(whole).saturating_mul(cells_u64).checked_div(whole).unwrap_or(0);
    let full = usize::try_from(full).unwrap_or(0).min(cells);
    let (on, off) = look.shapes.bar;
    [(on.repeat(full), look.bar()), (off.repeat(cells - full), look.track())]
}

/// A span of time, short: `12s`, `3m`, `2h`, `5d`.
fn ago(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d", seconds / 86400),
    }
}
