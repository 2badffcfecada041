//! `rbee replay`: what a recorder kept, played again. Nothing that was done is done again.

mod player;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use crossterm::event::{Event as Typed, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::Frame;
use ratatui::style::Modifier;
use wire::{Code, Fault};

use super::input::{Signals, Typing};
use super::look::Look;
use super::recorder::keep;
use super::rows::elide;
use super::screen::{self, Screen};
use super::state::State;
use crate::context::{Context, block_on};
use crate::failure::Failure;
use player::Player;

/// Longest pause between two events: nobody wants to see a night pass.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// How many times as fast as it happened a recording is played.
pub const SPEEDS: std::ops::RangeInclusive<f64> = 0.01..=1000.0;

/// How it is being played.
struct Playing {
    runs: bool,
    speed: f64,
    /// Events that are played.
    end: usize,
}

impl Playing {
    /// Plays faster or slower.
    fn change_speed(&mut self, by: f64) {
        self.speed = (self.speed * by).clamp(*SPEEDS.start(), *SPEEDS.end());
    }
}

/// How a recording is played.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// So many times as fast as it happened.
    pub speed: f64,
    /// Only so many events.
    pub to: Option<usize>,
}

/// The last screen of a recording as text.
///
/// # Errors
/// Those of reading it.
pub fn last_screen(file: &Path, how: How, context: &Context) -> Result<String, Failure> {
    let mut player = Player::new(keep::read(file)?);
    player.go_to(how.to.unwrap_or(usize::MAX));
    Ok(player::text(&player.screen(|state| look(state, context))))
}

/// Plays a recording on this terminal until its end, and stays there until the person leaves.
///
/// # Errors
/// Those of reading it, and of the terminal.
pub fn play(file: &Path, how: How, context: &Context) -> Result<(), Failure> {
    if !context.environment.is_interactive() {
        return Err(Failure::usage("a recording is played at a terminal")
            .hint("rbee replay --print FILE  # its last screen as text"));
    }
    let player = Player::new(keep::read(file)?);
    screen::give_back_in_a_panic();
    block_on(shown(player, how, context))
}

fn look(state: &State, context: &Context) -> Look {
    Look::new(&state.theme, context.environment.depth, context.environment.unicode)
}

async fn shown(player: Player, how: How, context: &Context) -> Result<(), Failure> {
    let mut screen = Screen::of_this_process()?;
    let mut typed = Typing::start()?;
    let left = played(player, how, context, (&mut screen, &mut typed)).await;
    typed.stop().await;
    left
}

/// Plays until the person leaves.
async fn played(
    mut player: Player,
    how: How,
    context: &Context,
    (screen, typed): (&mut Screen, &mut Typing),
) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let end = how.to.unwrap_or(usize::MAX).min(player.progress().1);
    let mut playing = Playing { runs: true, speed: how.speed, end };
    loop {
        draw(screen, &mut player, &playing, context)?;
        let goes_on = playing.runs && player.progress().0 < end;
        let pause = player.next().filter(|_| goes_on).map(|(next, before)| {
            next.saturating_sub(before).div_f64(playing.speed).min(MAX_PAUSE)
        });
        let key = tokio::select! {
            () = Signals::to_end(&mut signals.end) => return Err(Failure::interrupted()),
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {
                player.step();
                continue;
            }
            input = typed.next() => match input {
                Some(Ok(Typed::Key(key))) if key.kind != KeyEventKind::Release => key,
                Some(Ok(Typed::Resize(columns, rows))) => {
                    screen.resize((columns, rows))?;
                    continue;
                }
                Some(Ok(_)) => continue,
                _ => return Err(Fault::new(Code::Io, "the terminal is gone").into()),
            },
        };
        let now = player.progress().0;
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ok(()),
            KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
            KeyCode::Char(' ') => playing.runs = !playing.runs,
            KeyCode::Char('+') => playing.change_speed(2.0),
            KeyCode::Char('-') => playing.change_speed(0.5),
            KeyCode::Right => (playing.runs, ()) = (false, player.go_to((now + 1).min(end))),
            KeyCode::Left => (playing.runs, ()) = (false, player.go_to(now.saturating_sub(1))),
            KeyCode::Home => (playing.runs, ()) = (false, player.go_to(0)),
            KeyCode::End => (playing.runs, ()) = (false, player.go_to(end)),
            _ => {}
        }
    }
}

/// Shows as much of the recorded screen as fits, and below it how far it is.
fn draw(
    screen: &mut Screen,
    player: &mut Player,
    playing: &Playing,
    context: &Context,
) -> Result<(), Failure> {
    let (count, end) = (player.progress().0, playing.end);
    let word = match (count >= end, playing.runs) {
        (true, _) => "the end",
        (false, true) => "playing",
        (false, false) => "paused",
    };
    let keys = "space pauses, left and right step, + and - change the speed, q ends";
    let status = format!(" replay {count}/{end}, {word} ×{}: {keys}", playing.speed);
    let recorded = player.screen(|state| look(state, context));
    let show = |frame: &mut Frame<'_>| {
        let place = frame.area();
        let rows = place.height.saturating_sub(1).min(recorded.area.height);
        for row in 0..rows {
            for column in 0..place.width.min(recorded.area.width) {
                let to = frame.buffer_mut().cell_mut((column, row));
                if let (Some(to), Some(from)) = (to, recorded.cell((column, row))) {
                    to.clone_from(from);
                }
            }
        }
        let last = ratatui::layout::Rect { y: rows, height: 1, ..place }.intersection(place);
        let line = ratatui::text::Line::raw(elide(&status, place.width.into()));
        frame.render_widget(line, last);
        frame.buffer_mut().set_style(last, Modifier::REVERSED);
    };
    Ok(screen.draw(show)?)
}
