//! Colours by meaning: a theme gives each role its looks, and a pipe gets none.

use serde::{Deserialize, Serialize};

use super::looks::Looks;
use crate::environment::Depth;

/// The themes that every build carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Theme {
    /// For a dark background.
    #[default]
    Dark,
    /// For a light background.
    Light,
    /// Without colours.
    Mono,
    /// With as much contrast as there can be.
    HighContrast,
    /// With the sixteen colours that the terminal's user chose.
    Sixteen,
    /// Without telling red from green.
    ColourBlind,
}

impl Theme {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Dark, Self::Light, Self::HighContrast, Self::ColourBlind, Self::Sixteen, Self::Mono];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dark => "dark",
            Self::Light => "light",
            Self::Mono => "mono",
            Self::HighContrast => "high-contrast",
            Self::Sixteen => "sixteen",
            Self::ColourBlind => "colour-blind",
        }
    }

    /// Its file, as it was when the program was built.
    fn source(self) -> &'static str {
        match self {
            Self::Dark => include_str!("../../../themes/dark.toml"),
            Self::Light => include_str!("../../../themes/light.toml"),
            Self::Mono => include_str!("../../../themes/mono.toml"),
            Self::HighContrast => include_str!("../../../themes/high-contrast.toml"),
            Self::Sixteen => include_str!("../../../themes/sixteen.toml"),
            Self::ColourBlind => include_str!("../../../themes/colour-blind.toml"),
        }
    }

    /// Its roles on a terminal of that many colours. Themes are part of the program and tested, so
    /// that one which cannot be read only costs its colours.
    pub fn roles(self, depth: Depth) -> Roles {
        toml::from_str::<Roles>(self.source()).unwrap_or_default().at(depth)
    }
}

/// Makes the roles of a theme's file, each with its looks.
macro_rules! roles {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// A theme's file: what each kind of text looks like.
        #[derive(Debug, Clone, Default, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Roles {
            $($(#[$doc])* pub $name: Looks,)*
        }

        impl Roles {
            fn at(self, depth: Depth) -> Self {
                Self { $($name: self.$name.at(depth),)* }
            }
        }
    };
}

roles! {
    /// What failed.
    error,
    /// What somebody should look at.
    warning,
    /// What is as it should be.
    ok,
    /// What to do next.
    hint,
    /// What stands out without being good or bad.
    accent,
    /// What may be passed over.
    muted,
    /// Everything else on the screen, and what is behind it.
    text,
    /// The frame of a panel.
    border,
    /// The frame of the panel that keys go to.
    focus,
    /// The name of a panel.
    title,
    /// The row that is chosen.
    selected,
    /// What the person said.
    person,
    /// What the model said, its name.
    model,
    /// A heading of an answer.
    heading,
    /// Code of an answer.
    code,
    /// A quotation of an answer.
    quote,
    /// The full part of a bar.
    bar,
    /// The empty part of a bar.
    track,
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

    /// The colours of a theme.
    pub fn of(theme: Theme, depth: Depth) -> Self {
        Self { roles: theme.roles(depth) }
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
        for theme in Theme::ALL {
            let roles: Roles = toml::from_str(theme.source()).unwrap();
            assert_ne!(roles.error, Looks::default(), "{theme:?}: an error stands out");
            assert_ne!(roles.selected, Looks::default(), "{theme:?}: the chosen row stands out");
            let written = toml::Value::try_from(theme).unwrap();
            assert_eq!(written.as_str(), Some(theme.name()));
        }
    }

    #[test]
    fn the_theme_without_colours_has_none() {
        let style = Style::of(Theme::Mono, Depth::True);
        let painted = format!("{}{}{}", style.error("x"), style.hint("x"), style.muted("x"));
        assert!(!painted.contains("\u{1b}[3") && !painted.contains("\u{1b}[9"), "{painted:?}");
    }

    #[test]
    fn a_pipe_gets_the_text_alone() {
        assert_eq!(Style::plain().error("x"), "x");
    }
}
