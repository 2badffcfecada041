//! How one role of a theme looks: words such as `bold bright-red on-#202020`, and what is left of
//! them on a terminal with fewer colours.

use anstyle::{Ansi256Color, AnsiColor, Color, Effects, RgbColor};
use serde::Deserialize;

use crate::environment::Depth;

/// The sixteen colours as xterm shows them by default, in their order.
const SIXTEEN: [(u8, u8, u8); 16] = [
    (0, 0, 0),
    (205, 0, 0),
    (0, 205, 0),
    (205, 205, 0),
    (0, 0, 238),
    (205, 0, 205),
    (0, 205, 205),
    (229, 229, 229),
    (127, 127, 127),
    (255, 0, 0),
    (0, 255, 0),
    (255, 255, 0),
    (92, 92, 255),
    (255, 0, 255),
    (0, 255, 255),
    (255, 255, 255),
];
/// Levels of a channel in xterm's colour cube of six by six by six.
const CUBE: [u8; 6] = [0, 95, 135, 175, 215, 255];

/// The looks of one role, written as words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Looks(pub anstyle::Style);

impl TryFrom<String> for Looks {
    type Error = String;

    fn try_from(words: String) -> Result<Self, String> {
        words.split_whitespace().try_fold(Self::default(), |looks, word| {
            looks.with(word).ok_or_else(|| format!("`{word}` is neither an effect nor a colour"))
        })
    }
}

impl Looks {
    fn with(self, word: &str) -> Option<Self> {
        let effect = match word {
            "bold" => Some(Effects::BOLD),
            "dim" => Some(Effects::DIMMED),
            "italic" => Some(Effects::ITALIC),
            "underline" => Some(Effects::UNDERLINE),
            "reverse" => Some(Effects::INVERT),
            _ => None,
        };
        if let Some(effect) = effect {
            return Some(Self(self.0.effects(self.0.get_effects().insert(effect))));
        }
        match word.strip_prefix("on-") {
            Some(behind) => Some(Self(self.0.bg_color(Some(colour(behind)?)))),
            None => Some(Self(self.0.fg_color(Some(colour(word)?)))),
        }
    }

    /// The same on a terminal with fewer colours: the nearest ones, or none.
    #[must_use]
    pub fn at(self, depth: Depth) -> Self {
        let style = self.0;
        let fewer = |colour: Option<Color>| colour.and_then(|colour| nearest(colour, depth));
        Self(style.fg_color(fewer(style.get_fg_color())).bg_color(fewer(style.get_bg_color())))
    }

    /// `text` with the sequences that make it look so.
    pub fn paint(self, text: &str) -> String {
        format!("{}{text}{}", self.0.render(), self.0.render_reset())
    }
}

fn colour(word: &str) -> Option<Color> {
    if let Some(digits) = word.strip_prefix('#') {
        let number = u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 6)?;
        let [_, red, green, blue] = number.to_be_bytes();
        return Some(RgbColor(red, green, blue).into());
    }
    let (name, bright) = match word.strip_prefix("bright-") {
        Some(name) => (name, true),
        None => (word, false),
    };
    let colour = match name {
        "black" => AnsiColor::Black,
        "red" => AnsiColor::Red,
        "green" => AnsiColor::Green,
        "yellow" => AnsiColor::Yellow,
        "blue" => AnsiColor::Blue,
        "magenta" => AnsiColor::Magenta,
        "cyan" => AnsiColor::Cyan,
        "white" => AnsiColor::White,
        _ => return None,
    };
    Some(colour.bright(bright).into())
}

fn nearest(colour: Color, depth: Depth) -> Option<Color> {
    let Color::Rgb(RgbColor(red, green, blue)) = colour else {
        return (depth > Depth::None).then_some(colour);
    };
    match depth {
        Depth::None => None,
        Depth::True => Some(colour),
        Depth::Indexed => Some(Ansi256Color(indexed(red, green, blue)).into()),
        Depth::Sixteen => {
            let all = SIXTEEN.iter().zip(0_u8..);
            let best = all.min_by_key(|(other, _)| distance((red, green, blue), **other));
            best.and_then(|(_, index)| Ansi256Color(index).into_ansi()).map(Color::from)
        }
    }
}

/// The nearest of xterm's colour cube and of its 24 greys.
fn indexed(red: u8, green: u8, blue: u8) -> u8 {
    let level = |value: u8| {
        let all = CUBE.into_iter().zip(0_u8..);
        all.min_by_key(|(level, _)| level.abs_diff(value)).unwrap_or_default()
    };
    let (r, g, b) = (level(red), level(green), level(blue));
    let grey = |step: u8| 8 + 10 * step;
    let wanted = (red, green, blue);
    let (step, far) = (0..24_u8)
        .map(|step| (step, distance(wanted, (grey(step), grey(step), grey(step)))))
        .min_by_key(|(_, far)| *far)
        .unwrap_or_default();
    if far < distance(wanted, (r.0, g.0, b.0)) { 232 + step } else { 16 + 36 * r.1 + 6 * g.1 + b.1 }
}

fn distance(one: (u8, u8, u8), other: (u8, u8, u8)) -> u32 {
    let square = |a: u8, b: u8| u32::from(a.abs_diff(b)).pow(2);
    square(one.0, other.0) + square(one.1, other.1) + square(one.2, other.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(words: &str) -> Looks {
        Looks::try_from(words.to_owned()).unwrap()
    }

    #[test]
    fn words_become_looks_and_unknown_ones_are_refused() {
        let style = looks("bold bright-red on-#102030").0;
        assert_eq!(style.get_fg_color(), Some(AnsiColor::BrightRed.into()));
        assert_eq!(style.get_bg_color(), Some(RgbColor(16, 32, 48).into()));
        for word in ["pink", "#12345", "#1234567", "#gggggg", "on-"] {
            assert!(Looks::try_from(word.to_owned()).is_err(), "{word}");
        }
    }

    #[test]
    fn fewer_colours_leave_the_nearest_and_none_leave_the_effects() {
        let rich = looks("bold #ff8700 on-#080808");
        let at = |depth| (rich.at(depth).0.get_fg_color(), rich.at(depth).0.get_bg_color());
        let index = |colour| Some(Ansi256Color(colour).into());
        assert_eq!(at(Depth::Indexed), (index(208), index(232)));
        let sixteen = (Some(AnsiColor::Yellow.into()), Some(AnsiColor::Black.into()));
        assert_eq!(at(Depth::Sixteen), sixteen);
        assert_eq!(rich.at(Depth::None), looks("bold"));
        assert_eq!(looks("red").at(Depth::Sixteen), looks("red"));
    }
}
