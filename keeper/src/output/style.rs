//! Colours by meaning: a theme gives each role its looks, and a pipe gets none.

use serde::Deserialize;

use super::looks::Looks;
use super::theme::Theme;
use crate::environment::Depth;

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
            /// The same on a terminal of that many colours.
            #[must_use]
            pub fn at(self, depth: Depth) -> Self {
                Self { $($name: self.$name.at(depth),)* }
            }
        }

        /// The roles that a file names.
        #[derive(Debug, Clone, Default, PartialEq, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct SomeRoles {
            $($name: Option<Looks>,)*
        }

        impl SomeRoles {
            /// Those that are named, and the others of `base`.
            pub fn over(self, base: Roles) -> Roles {
                Roles { $($name: self.$name.unwrap_or(base.$name),)* }
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
    pub fn of(theme: &Theme, depth: Depth) -> Self {
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
    fn the_theme_without_colours_has_none() {
        let mono = Theme::built_in(&"mono".parse().unwrap()).unwrap();
        let style = Style::of(&mono, Depth::True);
        let painted = format!("{}{}{}", style.error("x"), style.hint("x"), style.muted("x"));
        assert!(!painted.contains("\u{1b}[3") && !painted.contains("\u{1b}[9"), "{painted:?}");
    }

    #[test]
    fn a_pipe_gets_the_text_alone() {
        assert_eq!(Style::plain().error("x"), "x");
    }
}
