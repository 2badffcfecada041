//! Conversations that are compared, side by side; below each other where there is no room.
//!
//! ```text
//! › demo on pc ───────── ↓ 12 more │   demo on nas ─────────────────
//! you                              │ you
//! What is a hive?                  │ What is a hive?
//! …                                │ …
//! 31.2 tok/s · context 812 of 4096 │ 12.0 tok/s · context 310 of …
//! ```

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use wire::text;

use super::{line, row};
use crate::tui::chat::{Phase, Turn};
use crate::tui::lanes::Lane;
use crate::tui::look::Look;
use crate::tui::rows::{elide, width};
use crate::tui::transcript::short;

/// Fewest columns of a lane that stands beside another one.
const MIN_COLUMNS: u16 = 36;
/// Columns between two lanes that stand beside each other: a line with air on both sides.
const GAP: u16 = 3;
/// Fewest rows of a lane that stands above another one, its title and its figures included.
const MIN_ROWS: u16 = 5;
/// Bytes of a model's name.
const MAX_NAME_BYTES: usize = 96;

/// The parts of a lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LanePlaces {
    /// With whom; nothing where there is one lane.
    pub title: Rect,
    /// What was said.
    pub transcript: Rect,
    /// How fast the answer comes; nothing where there is one lane.
    pub figures: Rect,
    /// The line between it and its neighbour on the right.
    pub edge: Rect,
}

/// Divides a place between `count` lanes. Where not all have room, the focused one has it all.
pub fn places(place: Rect, count: usize, focused: usize) -> Vec<LanePlaces> {
    if count < 2 {
        return vec![LanePlaces { transcript: place, ..LanePlaces::default() }];
    }
    let lanes = u16::try_from(count).unwrap_or(u16::MAX);
    let abreast = ((place.width + GAP) / (MIN_COLUMNS + GAP)).clamp(1, lanes);
    // As many beside each other in each row as in the others, or one less.
    let rows = lanes.div_ceil(abreast);
    let abreast = lanes.div_ceil(rows);
    if place.height / rows < MIN_ROWS {
        let of = |at| if at == focused { parts(place, false) } else { LanePlaces::default() };
        return (0..count).map(of).collect();
    }
    let mut places = Vec::new();
    for (at, band) in cut(place.height, rows).into_iter().enumerate() {
        let before = u16::try_from(at).unwrap_or(u16::MAX).saturating_mul(abreast);
        let here = abreast.min(lanes.saturating_sub(before));
        for (at, part) in cut(place.width + GAP, here).into_iter().enumerate() {
            let (y, height) = (place.y + band.0, band.1);
            let is_last = at + 1 == usize::from(here);
            let lane = Rect { x: place.x + part.0, y, width: part.1.saturating_sub(GAP), height };
            places.push(parts(lane, !is_last));
        }
    }
    places
}

/// Cuts a length into `count` parts: where each begins, and how long it is.
fn cut(length: u16, count: u16) -> Vec<(u16, u16)> {
    let begin = |at: u16| {
        let at = u32::from(length) * u32::from(at) / u32::from(count.max(1));
        u16::try_from(at).unwrap_or(length)
    };
    (0..count).map(|at| (begin(at), begin(at + 1) - begin(at))).collect()
}

fn parts(lane: Rect, has_neighbour: bool) -> LanePlaces {
    let below = lane.height.saturating_sub(1);
    let edge = Rect { x: lane.right() + GAP / 2, width: 1, ..lane };
    LanePlaces {
        title: Rect { height: lane.height.min(1), ..lane },
        transcript: Rect { y: lane.y + 1, height: below.saturating_sub(1), ..lane },
        figures: Rect { y: lane.y + below, height: below.min(1), ..lane },
        edge: if has_neighbour { edge } else { Rect::default() },
    }
}

/// Draws what stands around the rows of a lane.
pub fn draw(lane: &Lane, look: &Look, places: &LanePlaces, focused: bool, frame: &mut Frame<'_>) {
    let title = title(lane, look, usize::from(places.title.width), focused);
    line(frame, places.title, look, &title, &[]);
    let turn = lane.chat.turns.last();
    let columns = usize::from(places.figures.width);
    let figures = turn.map(|turn| figures(turn, columns)).unwrap_or_default();
    line(frame, places.figures, look, &[(figures, look.muted())], &[]);
    for number in 0..usize::from(places.edge.height) {
        let edge = (look.shapes.border.vertical_left.to_owned(), look.border());
        line(frame, row(places.edge, number), look, &[edge], &[]);
    }
}

fn title(lane: &Lane, look: &Look, columns: usize, focused: bool) -> Vec<(String, Style)> {
    let (mark, style) =
        if focused { (look.shapes.prompt, look.focus()) } else { ("  ", look.title()) };
    let name = lane.chat.partner.as_ref().map(|partner| {
        let model = text::one_line(&partner.model.to_string(), MAX_NAME_BYTES);
        let place = partner.hive.as_ref().map(|hive| format!(" on {hive}"));
        format!("{model}{}", place.unwrap_or_default())
    });
    let below = match lane.transcript.below() {
        0 => String::new(),
        below => format!(" {} {below} more", look.shapes.below),
    };
    let room = columns.saturating_sub(width(mark) + width(&below) + 1);
    let name = elide(&name.unwrap_or_default(), room);
    let rule = look.shapes.rule.repeat(room.saturating_sub(width(&name)));
    vec![
        (mark.to_owned(), style),
        (name, style.patch(look.title())),
        (format!(" {rule}"), look.border()),
        (below, look.accent()),
    ]
}

/// Figures of an answer in at most `columns`. What is not known is not there, nor what has no room.
/// Below an answer that is complete stand its own; then there is only how full the context is.
pub fn figures(turn: &Turn, columns: usize) -> String {
    let comes = !matches!(turn.phase, Phase::Done(_));
    let mut words = Vec::new();
    words.extend(turn.rate().filter(|_| comes).map(|rate| format!("{rate:.1} tokens/s")));
    words.extend(turn.context().map(|(used, size)| format!("context {used} of {size}")));
    if comes {
        match turn.count() {
            0 => {}
            1 => words.push("1 token".to_owned()),
            count => words.push(format!("{count} tokens")),
        }
        words.extend(turn.first_token().map(|first| format!("first {}", short(first))));
    }
    let joined = words.join(" · ");
    if width(&joined) <= columns {
        return joined;
    }
    let words = words.iter().map(|word| word.replace("tokens", "tok"));
    words.fold(String::new(), |line, word| match line.as_str() {
        "" => elide(&word, columns),
        _ if width(&line) + width(&word) + 3 <= columns => format!("{line} · {word}"),
        _ => line,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lanes_stand_beside_each_other_where_they_have_room() {
        let rects = |columns, rows, count| {
            places(Rect::new(0, 0, columns, rows), count, 0)
                .iter()
                .map(|it| (it.title.x, it.title.y, it.title.width))
                .collect::<Vec<_>>()
        };
        assert_eq!(rects(78, 19, 2), [(0, 0, 37), (40, 0, 38)]);
        assert_eq!(rects(78, 19, 3), [(0, 0, 37), (40, 0, 38), (0, 9, 78)]);
        assert_eq!(rects(198, 55, 4), [(0, 0, 47), (50, 0, 47), (100, 0, 47), (150, 0, 48)]);
        assert_eq!(rects(60, 20, 2), [(0, 0, 60), (0, 10, 60)]);
        assert_eq!(rects(60, 8, 2), [(0, 0, 60), (0, 0, 0)], "only the focused one");
    }

    proptest! {
        #[test]
        fn lanes_never_cover_each_other_and_stay_inside(
            columns in 1..220_u16, rows in 1..70_u16, count in 2..5_usize,
        ) {
            let place = Rect::new(3, 2, columns, rows);
            let all = places(place, count, 1);
            prop_assert_eq!(all.len(), count);
            let rects: Vec<Rect> = all
                .iter()
                .flat_map(|it| [it.title, it.transcript, it.figures, it.edge])
                .filter(|rect| !rect.is_empty())
                .collect();
            for (at, rect) in rects.iter().enumerate() {
                prop_assert_eq!(rect.intersection(place), *rect);
                for other in rects.iter().skip(at + 1) {
                    prop_assert!(rect.intersection(*other).is_empty(), "{rect} {other}");
                }
            }
        }
    }
}
