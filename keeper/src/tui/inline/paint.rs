//! Rows as text with the terminal's own sequences (ECMA-48, SGR).

use std::fmt::Write as _;

use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier, Style};
use unicode_width::UnicodeWidthStr;
use wire::text::for_terminal;

use crate::tui::look::Look;
use crate::tui::rows::Row;

/// A row of a conversation.
pub fn row(row: &Row, look: &Look) -> String {
    let mut out = String::new();
    for span in row {
        out.push_str(&sgr(look.of(span.kind)));
        out.push_str(&for_terminal(&look.shown(&span.text)));
    }
    out.push_str("\x1b[0m");
    out
}

/// The rows of a picture, without the blanks at their ends.
pub fn lines(picture: &Buffer) -> Vec<String> {
    let area = picture.area;
    let line = |y| {
        let mut out = String::new();
        let (mut style, mut skips, mut blanks) = (Style::reset(), 0, 0);
        for cell in (area.left()..area.right()).filter_map(|x| picture.cell((x, y))) {
            // The right half of a wide character.
            if skips > 0 {
                skips -= 1;
                continue;
            }
            if cell.symbol() == " " && is_blank(cell.style()) {
                blanks += 1;
                continue;
            }
            if blanks > 0 {
                out.push_str("\x1b[0m");
                out.push_str(&" ".repeat(blanks));
                (style, blanks) = (Style::reset(), 0);
            }
            if cell.style() != style {
                style = cell.style();
                out.push_str(&sgr(style));
            }
            out.push_str(cell.symbol());
            skips = cell.symbol().width().saturating_sub(1);
        }
        out.push_str("\x1b[0m");
        out
    };
    (area.top()..area.bottom()).map(line).collect()
}

/// Whether a blank of this style looks like one of none.
fn is_blank(style: Style) -> bool {
    let seen = Modifier::REVERSED | Modifier::UNDERLINED | Modifier::CROSSED_OUT;
    matches!(style.bg, None | Some(Color::Reset)) && !style.add_modifier.intersects(seen)
}

/// What makes the text that follows look so.
fn sgr(style: Style) -> String {
    let mut out = "\x1b[0".to_owned();
    for (modifier, number) in [
        (Modifier::BOLD, 1),
        (Modifier::DIM, 2),
        (Modifier::ITALIC, 3),
        (Modifier::UNDERLINED, 4),
        (Modifier::REVERSED, 7),
        (Modifier::CROSSED_OUT, 9),
    ] {
        if style.add_modifier.contains(modifier) {
            // A String takes everything.
            let _ = write!(out, ";{number}");
        }
    }
    for (colour, is_background) in [(style.fg, false), (style.bg, true)] {
        if let Some(colour) = colour {
            out.push_str(&numbers(colour, is_background));
        }
    }
    out.push('m');
    out
}

fn numbers(colour: Color, is_background: bool) -> String {
    let plane = if is_background { 10 } else { 0 };
    let named = |number: u8| format!(";{}", number + plane);
    match colour {
        Color::Reset => String::new(),
        Color::Black => named(30),
        Color::Red => named(31),
        Color::Green => named(32),
        Color::Yellow => named(33),
        Color::Blue => named(34),
        Color::Magenta => named(35),
        Color::Cyan => named(36),
        Color::Gray => named(37),
        Color::DarkGray => named(90),
        Color::LightRed => named(91),
        Color::LightGreen => named(92),
        Color::LightYellow => named(93),
        Color::LightBlue => named(94),
        Color::LightMagenta => named(95),
        Color::LightCyan => named(96),
        Color::White => named(97),
        Color::Indexed(index) => format!(";{};5;{index}", 38 + plane),
        Color::Rgb(red, green, blue) => format!(";{};2;{red};{green};{blue}", 38 + plane),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::layout::Rect;

    #[test]
    fn a_picture_is_the_same_on_a_terminal() {
        let mut picture = Buffer::empty(Rect::new(0, 0, 12, 2));
        let red = Style::new().fg(Color::Rgb(200, 0, 0)).add_modifier(Modifier::BOLD);
        picture.set_string(1, 0, "a日本b", red);
        picture.set_string(0, 1, "x", Style::new().fg(Color::LightBlue).bg(Color::Indexed(7)));
        let cells = |count| std::num::NonZeroU16::new(count).unwrap();
        let mut screen = vt100::Parser::new(cells(2), cells(12), 0);
        screen.process(lines(&picture).join("\r\n").as_bytes());
        assert_eq!(screen.screen().contents(), " a日本b\nx");
        let cell = |row, column| screen.screen().cell(row, column).unwrap().clone();
        assert_eq!(cell(0, 1).fgcolor(), vt100::Color::Rgb(200, 0, 0));
        assert!(cell(0, 1).bold() && !cell(1, 0).bold());
        assert_eq!(cell(1, 0).fgcolor(), vt100::Color::Idx(12));
        assert_eq!(cell(1, 0).bgcolor(), vt100::Color::Idx(7));
    }
}
