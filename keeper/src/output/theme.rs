//! Themes: those that every build carries, and those of the person, beside the configuration.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wire::{Code, Fault, text};

use super::style::{Roles, SomeRoles};
use crate::environment::Depth;
use crate::model::path_word;

/// Bytes of a theme's name.
const MAX_NAME_BYTES: usize = 64;
/// Themes of the person that are offered; a person who has more is not choosing any more.
const MAX_OWN: usize = 64;

/// The themes that every build carries, the default first.
const BUILT_IN: [(&str, &str); 8] = [
    ("dark", include_str!("../../../themes/dark.toml")),
    ("light", include_str!("../../../themes/light.toml")),
    ("high-contrast", include_str!("../../../themes/high-contrast.toml")),
    ("colour-blind", include_str!("../../../themes/colour-blind.toml")),
    ("sixteen", include_str!("../../../themes/sixteen.toml")),
    ("mono", include_str!("../../../themes/mono.toml")),
    ("gruvbox", include_str!("../../../themes/gruvbox.toml")),
    ("catppuccin", include_str!("../../../themes/catppuccin.toml")),
];

/// A theme's name: that of its file, without `.toml`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ThemeName(String);

impl Default for ThemeName {
    fn default() -> Self {
        Self("dark".to_owned())
    }
}

impl FromStr for ThemeName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let is_plain =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(is_plain) {
            let most = MAX_NAME_BYTES;
            return Err(format!(
                "a theme's name is 1 to {most} of the characters a-z, 0-9, - and _"
            ));
        }
        Ok(Self(name.to_owned()))
    }
}

impl TryFrom<String> for ThemeName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl From<ThemeName> for String {
    fn from(name: ThemeName) -> Self {
        name.0
    }
}

impl fmt::Display for ThemeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A theme that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Theme {
    name: ThemeName,
    roles: Arc<Roles>,
}

impl Default for Theme {
    /// The one for a dark background.
    fn default() -> Self {
        Self::built_in(&ThemeName::default())
            .unwrap_or_else(|| Self { name: ThemeName::default(), roles: Arc::default() })
    }
}

impl Theme {
    /// Its name in the configuration.
    pub fn name(&self) -> &ThemeName {
        &self.name
    }

    /// Its roles on a terminal of that many colours.
    pub fn roles(&self, depth: Depth) -> Roles {
        Roles::clone(&self.roles).at(depth)
    }

    /// One that every build carries.
    pub fn built_in(name: &ThemeName) -> Option<Self> {
        let (_, source) = BUILT_IN.into_iter().find(|(known, _)| *known == name.0)?;
        // They are part of the program and tested.
        let roles = toml::from_str::<Roles>(source).ok()?;
        Some(Self { name: name.clone(), roles: Arc::new(roles) })
    }

    /// All that every build carries.
    pub fn all_built_in() -> Vec<Self> {
        let names = BUILT_IN.iter().filter_map(|(name, _)| name.parse().ok());
        names.filter_map(|name| Self::built_in(&name)).collect()
    }

    /// Their names.
    pub fn built_in_names() -> String {
        BUILT_IN.map(|(name, _)| name).join(", ")
    }

    /// One of the person's own, as its file says. What that does not name is as in `dark`.
    ///
    /// # Errors
    /// `INVALID_CONFIG` with the file, the line and the column.
    fn parse(name: &ThemeName, source: &str, path: &Path) -> Result<Self, Fault> {
        let some: SomeRoles = toml::from_str(source).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let (line, column) = crate::config::line_and_column(source, start);
            let what = text::one_line(error.message(), wire::limits::MAX_FAULT_MESSAGE_BYTES / 2);
            let place = format!("{}, line {line}, column {column}", path.display());
            Fault::new(Code::InvalidConfig, format!("{place}: {what}"))
                .hint(format!("${{EDITOR:-vi}} +{line} {}", path_word(path)))
        })?;
        let roles = some.over(Roles::clone(&Self::default().roles));
        Ok(Self { name: name.clone(), roles: Arc::new(roles) })
    }

    /// The theme of that name: the person's own where there is such a file, else a built-in one.
    ///
    /// # Errors
    /// `INVALID_CONFIG` when the file has an error or cannot be read, or there is none.
    pub fn find(name: &ThemeName, dir: &Path) -> Result<Self, Fault> {
        let path = file(name, dir);
        match crate::config::read(&path) {
            Ok(source) => Self::parse(name, &source, &path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::built_in(name)
                .ok_or_else(|| {
                    let known = Self::built_in_names();
                    let message = format!("there is no theme {name}; there are {known}");
                    Fault::new(Code::InvalidConfig, message)
                }),
            Err(error) => {
                let message = format!("{}: the theme cannot be read", path.display());
                Err(Fault::new(Code::InvalidConfig, message).cause(error))
            }
        }
    }
}

/// The file of a theme of the person's own.
pub fn file(name: &ThemeName, dir: &Path) -> PathBuf {
    dir.join(format!("{name}.toml"))
}

/// The themes to choose from, by the names of their files, and what is wrong with the others.
pub fn all(dir: &Path) -> (Vec<Theme>, Vec<Fault>) {
    let mut themes = Theme::all_built_in();
    let mut faults = Vec::new();
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<ThemeName> = entries
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".toml")?.parse().ok())
        .take(MAX_OWN)
        .collect();
    names.sort();
    for name in names {
        match Theme::find(&name, dir) {
            Ok(theme) => {
                themes.retain(|built_in| built_in.name != name);
                themes.push(theme);
            }
            Err(fault) => faults.push(fault),
        }
    }
    (themes, faults)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::looks::Looks;

    fn name(text: &str) -> ThemeName {
        text.parse().unwrap()
    }

    #[test]
    fn every_theme_of_the_tree_is_built_in_and_names_every_role_with_known_words() {
        for (name, source) in BUILT_IN {
            let roles: Roles = toml::from_str(source).expect(name);
            assert_ne!(roles.error, Looks::default(), "{name}: an error stands out");
            assert_ne!(roles.selected, Looks::default(), "{name}: the chosen row stands out");
        }
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../themes");
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), BUILT_IN.len());
    }

    #[test]
    fn a_theme_of_the_person_needs_to_name_only_what_differs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mine.toml");
        std::fs::write(&path, "# mine\nerror = \"underline #123456\"\n").unwrap();
        let mine = Theme::find(&name("mine"), dir.path()).unwrap();
        let looks = |words: &str| Looks::try_from(words.to_owned()).unwrap();
        assert_eq!(mine.roles(Depth::True).error, looks("underline #123456"));
        assert_eq!(mine.roles(Depth::True).ok, Theme::default().roles(Depth::True).ok);
        let (themes, faults) = all(dir.path());
        assert_eq!((themes.len(), faults.len()), (BUILT_IN.len() + 1, 0));
    }

    #[test]
    fn an_error_is_named_with_file_line_and_column() {
        let dir = tempfile::tempdir().unwrap();
        let wrong = [
            ("\nerror = \"pink\"\n", "line 2, column 9", "pink"),
            ("text = \"\"\nhue = \"red\"\n", "line 2, column 1", "hue"),
            ("error = \"red\n", "line 1, column 13", ""),
        ];
        for (source, place, word) in wrong {
            std::fs::write(dir.path().join("mine.toml"), source).unwrap();
            let fault = Theme::find(&name("mine"), dir.path()).unwrap_err();
            assert!(fault.message.contains("mine.toml, "), "{}", fault.message);
            assert!(fault.message.contains(place), "{}", fault.message);
            assert!(fault.message.contains(word), "{}", fault.message);
            let (themes, faults) = all(dir.path());
            assert_eq!((themes.len(), faults.len()), (BUILT_IN.len(), 1));
        }
        let absent = Theme::find(&name("absent"), dir.path()).unwrap_err();
        assert!(absent.message.contains("gruvbox"), "{}", absent.message);
        for wrong in ["", "../x", "Ä", "a b"] {
            assert!(wrong.parse::<ThemeName>().is_err(), "{wrong}");
        }
    }
}
