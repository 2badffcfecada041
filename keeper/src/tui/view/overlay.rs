//! What stands over everything else: the keys, how to leave, a question.

use ratatui::Frame;
use ratatui::layout::Position;
use ratatui::style::Style;

use super::{line, popup, row};
use crate::tui::event::{Form, Operation, Question};
use crate::tui::keys::{Scope, Shown, TABLE};
use crate::tui::look::Look;
use crate::tui::picker::{self, Picker};
use crate::tui::rows::width;
use crate::tui::state::{Overlay, State};

/// Draws what there is.
pub fn draw(state: &State, look: &Look, frame: &mut Frame<'_>) {
    match &state.overlay {
        None => {}
        Some(Overlay::Help(from)) => help(look, *from, frame),
        Some(Overlay::Quit { stops }) => quit(state, look, *stops, frame),
        Some(Overlay::Picker(picker)) => pick(state, look, picker, frame),
        Some(Overlay::Confirm(operation)) => confirm(look, operation, frame),
        Some(Overlay::Question(question, typed)) => ask(look, question, typed, frame),
    }
}

/// The key table, a line each.
fn help(look: &Look, from: usize, frame: &mut Frame<'_>) {
    let mut lines: Vec<Vec<(String, Style)>> = Vec::new();
    for scope in Scope::ALL {
        lines.push(vec![(scope.title().to_owned(), look.title())]);
        for binding in TABLE.iter().filter(|binding| binding.scope == scope) {
            let keys: Vec<String> = binding.keys.iter().map(|key| Shown(key).to_string()).collect();
            lines.push(vec![
                (format!("  {:<22} ", keys.join(", ")), look.hint()),
                (binding.says.to_owned(), look.text()),
            ]);
        }
        lines.push(Vec::new());
    }
    let place = popup(frame, look, "Keys · any other key closes this", (76, lines.len() - 1));
    let from = from.min(lines.len().saturating_sub(usize::from(place.height)));
    for (number, content) in lines.iter().skip(from).enumerate() {
        line(frame, row(place, number), look, content, &[]);
    }
}

fn quit(state: &State, look: &Look, stops: bool, frame: &mut Frame<'_>) {
    let place = popup(frame, look, "Quit", (46, 5));
    let live = state.live_workers();
    let plural = if live == 1 { "worker has its model" } else { "workers have their models" };
    let head = vec![(format!("{live} {plural} loaded."), look.text())];
    let style = |chosen: bool| if chosen { look.selected() } else { look.text() };
    let choice = |key: &str, words: &str, chosen| {
        vec![(format!(" {key} "), look.hint()), (format!("{words} "), style(chosen))]
    };
    let lines = [
        head,
        Vec::new(),
        choice("k", "keep them warm", !stops),
        choice("s", "stop them, and the agents", stops),
        vec![(" Esc stays".to_owned(), look.muted())],
    ];
    for (number, content) in lines.iter().enumerate() {
        line(frame, row(place, number), look, content, &[]);
    }
}

/// The models that fit the letters, a row each.
fn pick(state: &State, look: &Look, picker: &Picker, frame: &mut Frame<'_>) {
    let found = picker::choices(state, &picker.typed);
    let place = popup(frame, look, "Talk with", (72, found.len().clamp(1, 12) + 2));
    let typed =
        [(look.shapes.prompt.to_owned(), look.focus()), (picker.typed.clone(), look.text())];
    line(frame, row(place, 0), look, &typed, &[]);
    let rule = look.shapes.rule.repeat(usize::from(place.width));
    line(frame, row(place, 1), look, &[(rule, look.border())], &[]);
    let height = usize::from(place.height.saturating_sub(2));
    if found.is_empty() {
        let words =
            "no model has these letters; an alias or a reference goes into the configuration";
        line(frame, row(place, 2), look, &[(words.to_owned(), look.muted())], &[]);
    }
    let skipped = (picker.at + 1).saturating_sub(height);
    for (index, choice) in found.iter().enumerate().skip(skipped).take(height) {
        let at = row(place, index - skipped + 2);
        let name = [(choice.name.clone(), look.title())];
        line(frame, at, look, &name, &[(choice.note.clone(), look.muted())]);
        if index == picker.at {
            frame.buffer_mut().set_style(at, look.selected());
        }
    }
    let column = u16::try_from(width(&picker.typed) + 2).unwrap_or(u16::MAX).min(place.width);
    frame.set_cursor_position(Position::new(place.x.saturating_add(column), place.y));
}

fn confirm(look: &Look, operation: &Operation, frame: &mut Frame<'_>) {
    let (question, command) = (operation.question(), operation.command());
    let widest = width(&question).max(width(&command) + 2).max(24);
    let place = popup(frame, look, "Sure?", (widest, 4));
    let lines = [
        vec![(question, look.text())],
        vec![(format!("$ {command}"), look.muted())],
        Vec::new(),
        vec![
            ("y".to_owned(), look.hint()),
            (" yes   ".to_owned(), look.text()),
            ("n".to_owned(), look.hint()),
            (" no".to_owned(), look.text()),
        ],
    ];
    for (number, content) in lines.iter().enumerate() {
        line(frame, row(place, number), look, content, &[]);
    }
}

fn ask(look: &Look, question: &Question, typed: &str, frame: &mut Frame<'_>) {
    let widest = question.lines.iter().map(|line| width(line)).max().unwrap_or(0).max(40);
    let place = popup(frame, look, "A question", (widest, question.lines.len() + 2));
    for (number, words) in question.lines.iter().enumerate() {
        line(frame, row(place, number), look, &[(words.clone(), look.text())], &[]);
    }
    let last = row(place, question.lines.len());
    let keys = row(place, question.lines.len() + 1);
    match question.form {
        Form::YesNo => {
            let words = [("y", " yes   "), ("n", " no   "), ("Esc", " no")];
            let parts: Vec<(String, Style)> = words
                .iter()
                .flat_map(|(key, says)| {
                    [((*key).to_owned(), look.hint()), ((*says).to_owned(), look.text())]
                })
                .collect();
            line(frame, keys, look, &parts, &[]);
        }
        Form::Line { shown } => {
            let text = if shown { typed.to_owned() } else { "*".repeat(typed.chars().count()) };
            let room = usize::from(last.width.saturating_sub(3));
            let count = text.chars().count();
            let tail: String = text.chars().skip(count.saturating_sub(room)).collect();
            let parts =
                [(look.shapes.prompt.to_owned(), look.focus()), (tail.clone(), look.text())];
            line(frame, last, look, &parts, &[]);
            let column = u16::try_from(width(&tail) + 2).unwrap_or(u16::MAX);
            let x = last.x.saturating_add(column.min(last.width));
            frame.set_cursor_position(Position::new(x, last.y));
            let parts = [
                ("Enter".to_owned(), look.hint()),
                (" answer   ".to_owned(), look.text()),
                ("Esc".to_owned(), look.hint()),
                (" give up".to_owned(), look.text()),
            ];
            line(frame, keys, look, &parts, &[]);
        }
    }
}
