//! The conversation, and below it what is written next.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Clear;
use wire::text;

use super::layout::{Places, chat_places};
use super::{lanes, line, panel, row};
use crate::output::progress::bytes;
use crate::tui::keys::Action;
use crate::tui::lanes::Lane;
use crate::tui::look::Look;
use crate::tui::rows::{Row, elide, width};
use crate::tui::state::{Focus, State};

/// Bytes of a model's name.
const MAX_NAME_BYTES: usize = 96;

/// Draws the panel.
pub fn draw(state: &State, look: &Look, places: &Places, frame: &mut Frame<'_>) {
    if places.chat.is_empty() {
        return;
    }
    if places.framed {
        panel(frame, places.chat, look, &title(state), state.focus.is_chat());
    }
    let parts = chat_places(state, places);
    let comparing = state.lanes.is_comparing();
    for (at, (lane, place)) in state.lanes.iter().zip(&parts.lanes).enumerate() {
        if place.transcript.is_empty() {
            continue;
        }
        if comparing {
            lanes::draw(lane, look, place, at == state.lanes.at(), frame);
        }
        if lane.chat.turns.is_empty() {
            welcome(lane, state, look, place.transcript, frame);
        }
        let chosen = lane.chat.chosen_turn().map(|turn| turn.id);
        let chosen = chosen.filter(|id| lane.chat.is_chosen(*id));
        let mark = chosen.and_then(|id| lane.transcript.place_of(id));
        for (number, content) in lane.transcript.seen().enumerate() {
            let at = row(place.transcript, number);
            frame.render_widget(painted(content, look), at);
            if mark == Some(number) {
                frame.buffer_mut().set_style(at, look.selected());
            }
        }
    }
    rule(state, look, parts.rule, frame);
    files(state, look, parts.files, frame);
    draft(state, look, parts.draft, frame);
}

/// The line between what was said and what is written. In it: how fast the answer comes, how full
/// the context is, and how much of the conversation is below.
pub fn rule(state: &State, look: &Look, place: Rect, frame: &mut Frame<'_>) {
    let rule = look.shapes.rule.repeat(usize::from(place.width));
    frame.render_widget(Line::styled(rule, look.border()), place);
    if place.height == 0 || state.lanes.is_comparing() {
        return;
    }
    let below = state.lane().transcript.below();
    let words = format!(" {} {below} more rows ", look.shapes.below);
    let words = if below > 0 { elide(&words, usize::from(place.width)) } else { String::new() };
    let room = usize::from(place.width).saturating_sub(width(&words) + 6);
    let turn = state.chat().turns.last();
    let figures = turn.map(|turn| lanes::figures(turn, room)).unwrap_or_default();
    if !figures.is_empty() {
        let figures = format!(" {figures} ");
        let columns = u16::try_from(width(&figures)).unwrap_or(place.width);
        let at = Rect { x: place.x + 1, width: columns.min(place.width - 1), ..place };
        // Nothing of the line's look stays.
        frame.render_widget(Clear, at);
        frame.buffer_mut().set_style(at, look.text());
        frame.render_widget(Line::styled(look.shown(&figures), look.muted()), at);
    }
    frame.render_widget(Line::styled(look.shown(&words), look.accent()).right_aligned(), place);
}

fn title(state: &State) -> String {
    if state.lanes.is_comparing() {
        return format!("3 Chat · comparing {}", state.lanes.count());
    }
    match &state.chat().partner {
        Some(partner) => {
            let model = text::one_line(&partner.model.to_string(), MAX_NAME_BYTES);
            let place = partner.hive.as_ref().map(|hive| format!(" on {hive}"));
            format!("3 Chat · {model}{}", place.unwrap_or_default())
        }
        None => "3 Chat · no model".to_owned(),
    }
}

/// A row with the colours of its parts.
pub fn painted(content: &Row, look: &Look) -> Line<'static> {
    let spans = content.iter().map(|span| Span::styled(look.shown(&span.text), look.of(span.kind)));
    spans.collect::<Vec<_>>().into()
}

/// What stands where nothing was said.
fn welcome(lane: &Lane, state: &State, look: &Look, place: Rect, frame: &mut Frame<'_>) {
    let of = |action, says: &str| {
        let key = state.keys.key(action, Focus::Writing.scopes())?;
        Some(format!("{key} {says}"))
    };
    let words = if lane.chat.partner.is_some() {
        vec![
            Some("Write a message.".to_owned()),
            of(Action::Send, "sends it"),
            of(Action::NewLine, "begins a new line"),
            of(Action::Help, "shows all keys"),
        ]
    } else {
        vec![Some("No model is chosen.".to_owned()), of(Action::Pick, "chooses one")]
    };
    let words: Vec<String> = words.into_iter().flatten().collect();
    let top = usize::from(place.height).saturating_sub(words.len()) / 2;
    for (number, words) in words.into_iter().enumerate() {
        let at = row(place, top + number);
        let words = look.shown(&elide(&words, usize::from(at.width)));
        frame.render_widget(Line::styled(words, look.muted()).centered(), at);
    }
}

/// The files that go with the message, a chip each.
fn files(state: &State, look: &Look, place: Rect, frame: &mut Frame<'_>) {
    let attachments = &state.draft.attachments;
    if attachments.is_empty() {
        return;
    }
    let chips: Vec<(String, ratatui::style::Style)> = attachments
        .iter()
        .flat_map(|file| {
            let size = bytes(u64::try_from(file.bytes()).unwrap_or(u64::MAX));
            let chip = format!("[{} {size}]", file.name());
            [("  ".to_owned(), look.text()), (chip, look.accent())]
        })
        .collect();
    let hint = if state.draft.editor.is_empty() { "Backspace takes it away" } else { "" };
    line(frame, place, look, &chips, &[(hint.to_owned(), look.muted())]);
}

/// What is written next, and the cursor.
pub fn draft(state: &State, look: &Look, place: Rect, frame: &mut Frame<'_>) {
    if place.is_empty() {
        return;
    }
    let (rows, (column, cursor_row)) =
        state.draft.editor.rows(usize::from(place.width.saturating_sub(2)));
    let skipped = (cursor_row + 1).saturating_sub(usize::from(place.height));
    let writing = state.focus == Focus::Writing;
    for (number, text) in rows.iter().skip(skipped).take(usize::from(place.height)).enumerate() {
        let prompt = if number + skipped == 0 { look.shapes.prompt } else { "  " };
        let mark = if writing { look.focus() } else { look.muted() };
        let left = [(prompt.to_owned(), mark), (text.clone(), look.text())];
        line(frame, row(place, number), look, &left, &[]);
    }
    if writing && state.overlay.is_none() {
        let at = |offset: usize, most: u16| u16::try_from(offset).unwrap_or(u16::MAX).min(most);
        let x = place.x + at(column + 2, place.width.saturating_sub(1));
        let y = place.y + at(cursor_row - skipped, place.height.saturating_sub(1));
        frame.set_cursor_position(Position::new(x, y));
    }
}
