//! How the screen looks: the roles of a theme as styles of cells, and the characters for shapes.

use anstyle::{AnsiColor, Color as From, Effects};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::border;

use super::rows::Kind;
use crate::environment::Depth;
use crate::output::looks::Looks;
use crate::output::style::Roles;
use crate::output::theme::Theme;

/// Characters for shapes.
#[derive(Debug, Clone, Copy)]
pub struct Shapes {
    /// The frame of a panel.
    pub border: border::Set<'static>,
    /// The full and the empty part of a bar.
    pub bar: (&'static str, &'static str),
    /// Before a hive or worker: as it should be, on its way, wrong, nothing.
    pub marks: [&'static str; 4],
    /// A line between two parts.
    pub rule: &'static str,
    /// Before what is written.
    pub prompt: &'static str,
    /// More below.
    pub below: &'static str,
    /// Behind the head of the column that rows are sorted by.
    pub sorted: &'static str,
    /// Parts of a device's memory: ours, of others, promised, free.
    pub memory: [&'static str; 4],
    /// A figure over time, from low to high.
    pub spark: &'static [&'static str],
    /// Before a row that was marked.
    pub marked: &'static str,
}

const ROUND: Shapes = Shapes {
    border: border::ROUNDED,
    bar: ("█", "░"),
    marks: ["●", "◐", "✗", "○"],
    rule: "─",
    prompt: "› ",
    below: "↓",
    memory: ["█", "▓", "▒", "░"],
    spark: &["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
    sorted: "▾",
    marked: "▌",
};

const ASCII: Shapes = Shapes {
    border: border::Set {
        top_left: "+",
        top_right: "+",
        bottom_left: "+",
        bottom_right: "+",
        vertical_left: "|",
        vertical_right: "|",
        horizontal_top: "-",
        horizontal_bottom: "-",
    },
    bar: ("#", "."),
    marks: ["*", "~", "x", "o"],
    rule: "-",
    prompt: "> ",
    below: "v",
    memory: ["#", "x", "+", "."],
    spark: &["_", ".", ":", "-", "=", "+", "*", "#"],
    sorted: "v",
    marked: ">",
};

/// A theme on this terminal.
#[derive(Debug, Clone)]
pub struct Look {
    roles: Roles,
    /// Characters for shapes.
    pub shapes: Shapes,
    unicode: bool,
}

/// Defines a method for each role.
macro_rules! styles {
    ($($name:ident),*) => {
        impl Look {
            $(
                /// The style of the role of that name.
                pub fn $name(&self) -> Style {
                    style(self.roles.$name)
                }
            )*
        }
    };
}

styles!(
    error, warning, ok, hint, accent, muted, text, border, focus, title, selected, person, model,
    heading, code, quote, bar, track
);

impl Look {
    /// A theme on a terminal with so many colours, which takes UTF-8 or not.
    pub fn new(theme: &Theme, depth: Depth, unicode: bool) -> Self {
        let shapes = if unicode { ROUND } else { ASCII };
        Self { roles: theme.roles(depth), shapes, unicode }
    }

    /// The style of a kind of text.
    pub fn of(&self, kind: Kind) -> Style {
        match kind {
            Kind::Text => self.text(),
            Kind::Muted => self.muted(),
            Kind::Person | Kind::Number => self.person(),
            Kind::Model => self.model(),
            Kind::Error => self.error(),
            Kind::Warning => self.warning(),
            Kind::Hint => self.hint(),
            Kind::Heading => self.heading(),
            Kind::Strong => self.text().add_modifier(Modifier::BOLD),
            Kind::Emphasis => self.text().add_modifier(Modifier::ITALIC),
            Kind::Code => self.code(),
            Kind::Comment => self.muted().add_modifier(Modifier::ITALIC),
            Kind::Literal => self.ok(),
            Kind::Keyword => self.accent().add_modifier(Modifier::BOLD),
            Kind::Quote => self.quote(),
        }
    }

    /// A text as this terminal can show it.
    pub fn shown(&self, text: &str) -> String {
        if self.unicode {
            return text.to_owned();
        }
        let ascii = |c: char| match c {
            '…' => '~',
            '·' | '—' | '–' | '─' => '-',
            '›' | '→' => '>',
            '│' => '|',
            '┆' => ':',
            '┼' => '+',
            '•' => '*',
            '°' => ' ',
            '“' | '”' => '"',
            '‘' | '’' => '\'',
            c if c.is_ascii() => c,
            _ => '?',
        };
        text.chars().map(ascii).collect()
    }
}

fn style(looks: Looks) -> Style {
    let from = looks.0;
    let (fg, bg) = (from.get_fg_color().map(colour), from.get_bg_color().map(colour));
    let mut style = Style { fg, bg, ..Style::default() };
    let effects = from.get_effects();
    for (effect, modifier) in [
        (Effects::BOLD, Modifier::BOLD),
        (Effects::DIMMED, Modifier::DIM),
        (Effects::ITALIC, Modifier::ITALIC),
        (Effects::UNDERLINE, Modifier::UNDERLINED),
        (Effects::INVERT, Modifier::REVERSED),
    ] {
        if effects.contains(effect) {
            style = style.add_modifier(modifier);
        }
    }
    style
}

fn colour(colour: From) -> Color {
    match colour {
        From::Rgb(rgb) => Color::Rgb(rgb.0, rgb.1, rgb.2),
        From::Ansi256(index) => Color::Indexed(index.0),
        From::Ansi(ansi) => match ansi {
            AnsiColor::Black => Color::Black,
            AnsiColor::Red => Color::Red,
            AnsiColor::Green => Color::Green,
            AnsiColor::Yellow => Color::Yellow,
            AnsiColor::Blue => Color::Blue,
            AnsiColor::Magenta => Color::Magenta,
            AnsiColor::Cyan => Color::Cyan,
            AnsiColor::White => Color::Gray,
            AnsiColor::BrightBlack => Color::DarkGray,
            AnsiColor::BrightRed => Color::LightRed,
            AnsiColor::BrightGreen => Color::LightGreen,
            AnsiColor::BrightYellow => Color::LightYellow,
            AnsiColor::BrightBlue => Color::LightBlue,
            AnsiColor::BrightMagenta => Color::LightMagenta,
            AnsiColor::BrightCyan => Color::LightCyan,
            AnsiColor::BrightWhite => Color::White,
        },
    }
}
