//! Which key does what for this person: the table with the changes of a file, found at once.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};
use wire::{Code, Fault};

use super::{Action, Key, Scope, TABLE};
use crate::config;
use crate::model::path_word;

/// Keys that one action may have.
const MAX_KEYS: usize = 8;

/// A line of the table, with the keys that count.
#[derive(Debug, Clone)]
pub struct Bound {
    /// Where it counts.
    pub scope: Scope,
    /// The keys; none: only the palette does it.
    pub keys: Vec<Key>,
    /// What it does.
    pub action: Action,
    /// Its name: a word of the palette, and of the file of keys.
    pub name: &'static str,
    /// What it does, for the help.
    pub says: &'static str,
    /// What it does, in the line at the bottom; empty: it is not shown there.
    pub short: &'static str,
}

/// Every key of the program.
#[derive(Debug, Clone)]
pub struct KeyMap {
    bindings: Vec<Bound>,
    found: Arc<HashMap<(Scope, Key), Action>>,
}

impl Default for KeyMap {
    /// The table as it is.
    fn default() -> Self {
        let keys = |words: &[&str]| words.iter().filter_map(|word| word.parse().ok()).collect();
        let bindings = TABLE.iter().map(|line| Bound {
            scope: line.scope,
            keys: keys(line.keys),
            action: line.action,
            name: line.name,
            says: line.says,
            short: line.short,
        });
        Self::of(bindings.collect())
    }
}

/// Something of a file that is wrong: where it begins in the text, and what.
type Wrong = (usize, String);

impl KeyMap {
    fn of(bindings: Vec<Bound>) -> Self {
        let each =
            bindings.iter().flat_map(|it| it.keys.iter().map(|key| ((it.scope, *key), it.action)));
        let found = Arc::new(each.collect());
        Self { bindings, found }
    }

    /// All lines, in the order of the table.
    pub fn bindings(&self) -> &[Bound] {
        &self.bindings
    }

    /// What a key does in the first of `scopes` that knows it.
    pub fn action(&self, key: Key, scopes: &[Scope]) -> Option<Action> {
        scopes.iter().find_map(|scope| self.found.get(&(*scope, key)).copied())
    }

    /// The first key that does something, in the first of `scopes` that has one for it.
    pub fn key(&self, action: Action, scopes: &[Scope]) -> Option<Key> {
        let of = |scope: &Scope| {
            let mut here = self.bindings.iter().filter(|it| it.scope == *scope);
            here.find(|it| it.action == action && !it.keys.is_empty())?.keys.first().copied()
        };
        scopes.iter().find_map(of)
    }

    /// The table with the changes of a file's text; `path` is for the error.
    ///
    /// # Errors
    /// `INVALID_CONFIG` with the file, the line and the column: for a scope, an action or a key
    /// that there is not, and for a key that would do two things.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Fault> {
        changed(text).map_err(|(at, what)| {
            let (line, column) = config::line_and_column(text, at);
            let place = format!("{}, line {line}, column {column}", path.display());
            Fault::new(Code::InvalidConfig, format!("{place}: {what}"))
                .hint(format!("${{EDITOR:-vi}} +{line} {}", path_word(path)))
        })
    }

    /// What a file of keys says, without its remarks; nothing where it does not count.
    pub fn own(path: &Path) -> String {
        let text = config::read(path).unwrap_or_default();
        let read = Self::parse(&text, path).ok().and_then(|_| text.parse::<toml::Table>().ok());
        read.map(|table| table.to_string()).unwrap_or_default()
    }

    /// The keys that a file of this directory changes; without one, the table as it is.
    ///
    /// # Errors
    /// As [`Self::parse`], and when the file cannot be read.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        match config::read(path) {
            Ok(text) => Self::parse(&text, path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => {
                let message = format!("{}: the keys cannot be read", path.display());
                Err(Fault::new(Code::InvalidConfig, message).cause(error))
            }
        }
    }
}

fn changed(text: &str) -> Result<KeyMap, Wrong> {
    let table = DeTable::parse(text).map_err(|error| {
        let what = wire::text::one_line(error.message(), wire::limits::MAX_FAULT_MESSAGE_BYTES / 2);
        (error.span().map_or(0, |span| span.start), what)
    })?;
    let mut bindings = KeyMap::default().bindings;
    // Which lines were changed, and where.
    let mut changes: Vec<(usize, usize)> = Vec::new();
    for (word, names) in table.get_ref() {
        let at = word.span().start;
        let known = || Scope::ALL.map(Scope::word).join(", ");
        let scope = Scope::ALL.into_iter().find(|scope| scope.word() == word.get_ref().as_ref());
        let scope = scope.ok_or_else(|| (at, format!("a place is one of {}", known())))?;
        let DeValue::Table(names) = names.get_ref() else {
            return Err((at, format!("[{}] is a table of actions", scope.word())));
        };
        for (name, value) in names {
            let at = name.span().start;
            let is_named = |it: &Bound| it.scope == scope && it.name == name.get_ref().as_ref();
            let index = bindings.iter().position(is_named);
            let index = index.ok_or_else(|| (at, no_action(scope, &bindings)))?;
            let keys = keys_of(value.get_ref(), value.span().start)?;
            changes.push((index, value.span().start));
            if let Some(binding) = bindings.get_mut(index) {
                binding.keys = keys;
            }
        }
    }
    // The later of two is the one to name.
    changes.sort_by_key(|(_, at)| std::cmp::Reverse(*at));
    for (index, at) in changes {
        let Some(binding) = bindings.get(index) else { continue };
        check(binding, &bindings).map_err(|what| (at, what))?;
    }
    Ok(KeyMap::of(bindings))
}

fn no_action(scope: Scope, bindings: &[Bound]) -> String {
    let names = bindings.iter().filter(|it| it.scope == scope).map(|it| it.name);
    let names = names.collect::<Vec<_>>().join(", ");
    format!("an action of [{}] is one of {names}", scope.word())
}

fn keys_of(value: &DeValue<'_>, at: usize) -> Result<Vec<Key>, Wrong> {
    let key = |word: &str, at: usize| {
        let what = "no key; one is a character, a name as enter, esc, tab, space, up, pageup, f1, \
                    with ctrl-, alt- or shift- before it";
        word.parse::<Key>()
            .map_err(|()| (at, format!("`{}` is {what}", wire::text::one_line(word, 64))))
    };
    match value {
        DeValue::String(word) => Ok(vec![key(word, at)?]),
        DeValue::Array(words) if words.len() <= MAX_KEYS => words
            .iter()
            .map(|word| match word.get_ref() {
                DeValue::String(text) => key(text, word.span().start),
                _ => Err((word.span().start, "a key is a text".to_owned())),
            })
            .collect(),
        _ => Err((at, format!("a key, or a list of at most {MAX_KEYS}"))),
    }
}

/// Refuses a key that could not be typed any more, or that would do two things.
fn check(changed: &Bound, bindings: &[Bound]) -> Result<(), String> {
    for key in &changed.keys {
        let is_written = matches!(changed.scope, Scope::Writing | Scope::Everywhere);
        if is_written && key.types().is_some() {
            return Err(format!("{key} could not be written any more; use Ctrl, Alt or F1 to F12"));
        }
        let is_other = |it: &&Bound| {
            (it.scope, it.name) != (changed.scope, changed.name)
                && it.action != changed.action
                && it.keys.contains(key)
                && it.scope.meets(changed.scope)
        };
        // What the table itself has twice, the nearer one is meant to do.
        let is_default = |it: &Bound| {
            TABLE.iter().any(|line| {
                (line.scope, line.name) == (it.scope, it.name)
                    && line.keys.iter().any(|word| word.parse() == Ok(*key))
            })
        };
        let other = bindings.iter().filter(is_other);
        let mut other = other.filter(|it| !(is_default(it) && is_default(changed)));
        if let Some(other) = other.next() {
            let (scope, name) = (other.scope.word(), other.name);
            return Err(format!("{key} is the key of {name} in [{scope}] already"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<KeyMap, String> {
        KeyMap::parse(text, Path::new("/c/keys.toml")).map_err(|fault| fault.message)
    }

    fn key(word: &str) -> Key {
        word.parse().unwrap()
    }

    const IN_WORKERS: [Scope; 3] = [Scope::Workers, Scope::Panels, Scope::Everywhere];

    #[test]
    fn a_file_changes_the_keys_that_it_names_and_no_others() {
        let map =
            parsed("[panels]\nzoom = \"f\"\nsort = [\"o\", \"ctrl-s\"]\nquit = []\n").unwrap();
        let of = |word: &str| map.action(key(word), &IN_WORKERS);
        assert_eq!((of("f"), of("z"), of("+")), (Some(Action::Zoom), None, None));
        assert_eq!((of("o"), of("ctrl-s")), (Some(Action::Sort), Some(Action::Sort)));
        assert_eq!((of("q"), of("j")), (None, Some(Action::Down)));
        assert_eq!(parsed("").unwrap().action(key("q"), &IN_WORKERS), Some(Action::Quit));
    }

    #[test]
    fn every_error_is_named_with_its_line_and_column() {
        let wrong = [
            ("[panels]\nzoom = \"hyper-x\"", "line 2, column 8", "hyper-x"),
            ("[panels]\nfly = \"x\"", "line 2, column 1", "zoom"),
            ("[moon]\nzoom = \"x\"", "line 1, column 2", "panels"),
            ("zoom = \"x\"", "line 1, column 1", "panels"),
            ("[panels]\nzoom = 7", "line 2, column 8", "list"),
            ("[panels]\nzoom = [\"x\", 7]", "line 2, column 14", "text"),
            ("[panels\n", "line 1", ""),
            // Two of one place; a nearer one that would hide a farther one, and the reverse.
            ("[panels]\nzoom = \"q\"", "line 2, column 8", "quit in [panels]"),
            ("[workers]\ntalk = \"q\"", "line 2, column 8", "quit in [panels]"),
            ("[panels]\nzoom = \"x\"", "line 2, column 8", "stop-worker in [workers]"),
            ("[panels]\nzoom = \"f\"\nsort = \"f\"", "line 3, column 8", "zoom in [panels]"),
            ("[writing]\nsend = \"x\"", "line 2, column 8", "written"),
        ];
        for (text, place, word) in wrong {
            let message = parsed(text).unwrap_err();
            assert!(message.starts_with("/c/keys.toml, "), "{message}");
            assert!(message.contains(place) && message.contains(word), "{text:?}: {message}");
        }
    }

    #[test]
    fn places_that_are_never_looked_up_together_may_share_a_key() {
        assert!(parsed("[hives]\nstart-agent = \"x\"\n").is_ok(), "x is of the workers");
        assert!(parsed("[writing]\nsend = \"ctrl-b\"\n").is_ok(), "ctrl-b is of the panels");
    }

    #[test]
    fn what_the_table_says_is_accepted_when_it_is_written_down() {
        for line in TABLE {
            let keys: Vec<String> = line.keys.iter().map(|key| format!("{key:?}")).collect();
            let text = format!("[{}]\n{} = [{}]\n", line.scope.word(), line.name, keys.join(", "));
            assert!(parsed(&text).is_ok(), "{text}: {:?}", parsed(&text));
        }
    }
}
