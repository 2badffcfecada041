//! Colours by meaning: a theme gives each role its looks, and a pipe gets none.

use anstyle::{AnsiColor, Effects};
use serde::{Deserialize, Serialize};

/// The themes that every build carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Theme {
    /// For a dark background.
    #[default]
    Dark,
    /// For a light background.
    Light,
    /// Without colours.
    Mono,
}

impl Theme {
    /// Its file, as it was when the program was built.
    fn source(self) -> &'static str {
        match self {
            Self::Dark => include_str!("../../../themes/dark.toml"),
            Self::Light => include_str!("../../../themes/light.toml"),
            Self::Mono => include_str!("../../../themes/mono.toml"),
        }
    }
}

/// A theme's file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Roles {
    error: Looks,
    warning: Looks,
    ok: Looks,
    hint: Looks,
    accent: Looks,
    muted: Looks,
}

/// The looks of one role, written as words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(try_from = "String")]
struct Looks(anstyle::Style);

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
            _ => None,
        };
        if let Some(effect) = effect {
            return Some(Self(self.0.effects(self.0.get_effects().insert(effect))));
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
        Some(Self(self.0.fg_color(Some(colour.bright(bright).into()))))
    }

    fn paint(self, text: &str) -> String {
        format!("{}{text}{}", self.0.render(), self.0.render_reset())
    }
}

/// Paints text by its role, or leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct Style {
    roles: Roles,
}

impl Style {
    /// No colours: for pipes, files and `NO_COLOR`.
    pub fn plain() -> Self {
        Self::default()
    }

    /// The colours of a theme. Themes are part of the program and tested, so that one which cannot
    /// be read only costs its colours.
    pub fn of(theme: Theme) -> Self {
        Self { roles: toml::from_str(theme.source()).unwrap_or_default() }
    }

    /// What failed.
    pub fn error(&self, text: &str) -> String {
        self.roles.error.paint(text)
    }

    /// What somebody should look at.
    pub fn warning(&self, text: &str) -> String {
        self.roles.warning.paint(text)
    }

    /// What is as it should be.
    pub fn ok(&self, text: &str) -> String {
        self.roles.ok.paint(text)
    }

    /// What to do next.
    pub fn hint(&self, text: &str) -> String {
        self.roles.hint.paint(text)
    }

    /// What stands out without being good or bad.
    pub fn accent(&self, text: &str) -> String {
        self.roles.accent.paint(text)
    }

    /// What may be passed over.
    pub fn muted(&self, text: &str) -> String {
        self.roles.muted.paint(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_theme_names_every_role_with_known_words() {
        for theme in [Theme::Dark, Theme::Light, Theme::Mono] {
            let roles: Roles = toml::from_str(theme.source()).unwrap();
            assert_ne!(roles.error, Looks::default(), "{theme:?}: an error stands out");
        }
        assert!(Looks::try_from("bold pink".to_owned()).is_err());
    }

    #[test]
    fn the_theme_without_colours_has_none() {
        let style = Style::of(Theme::Mono);
        let painted = format!("{}{}{}", style.error("x"), style.hint("x"), style.muted("x"));
        assert!(!painted.contains("\u{1b}[3") && !painted.contains("\u{1b}[9"), "{painted:?}");
    }

    #[test]
    fn a_pipe_gets_the_text_alone() {
        assert_eq!(Style::plain().error("x"), "x");
    }
}
