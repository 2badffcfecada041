//! Reading the configuration's files where there is no OpenSSH to ask (`ssh_config(5)`).

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use wire::text::shell_word;
use wire::{Code, Fault};

use super::options::Options;
use super::{Around, expand};
use crate::ssh::address::Address;
use crate::ssh::known_hosts::pattern;

/// The machine's own configuration.
const SYSTEM_CONFIG: &str = "/etc/ssh/ssh_config";
/// Bytes of the largest file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Files that are read at most, those that they include counted.
const MAX_FILES: usize = 128;
/// How deep an `Include` may include (`READCONF_MAX_DEPTH` of OpenSSH).
const MAX_DEPTH: usize = 16;
/// Entries of a directory that are compared with a pattern.
const MAX_ENTRIES: usize = 4096;
/// Options of which every value counts, not the first alone.
const COLLECTED: [&str; 2] = ["identityfile", "certificatefile"];
/// Options whose value has several words.
const LISTS: [&str; 2] = ["userknownhostsfile", "globalknownhostsfile"];

/// The options for `address`.
///
/// # Errors
/// `INVALID_CONFIG` with the file and the line that cannot be read.
pub(super) fn read(around: &Around, address: &Address) -> Result<Options, Fault> {
    let mut reader = Reader { around, address, options: Options::default(), files: 0 };
    if let Some(user) = address.user() {
        reader.options.push("user", user);
    }
    if let Some(port) = address.port() {
        reader.options.push("port", &port.to_string());
    }
    let personal = around.home.join(".ssh");
    if let Some(config) = &around.config {
        reader.file(config, &personal, 0, true)?;
    } else {
        reader.file(&personal.join("config"), &personal, 0, false)?;
        reader.file(Path::new(SYSTEM_CONFIG), Path::new("/etc/ssh"), 0, false)?;
    }
    Ok(reader.options)
}

struct Reader<'a> {
    around: &'a Around,
    address: &'a Address,
    options: Options,
    files: usize,
}

/// Where a line stands, for an error.
struct At<'a> {
    file: &'a Path,
    line: usize,
}

impl At<'_> {
    fn refuse(&self, problem: &str) -> Fault {
        let message = format!("{}, line {}: {problem}", self.file.display(), self.line);
        let word = shell_word(&self.file.to_string_lossy());
        Fault::new(Code::InvalidConfig, message)
            .hint(format!("${{EDITOR:-vi}} +{} {word}", self.line))
    }
}

impl Reader<'_> {
    /// Reads one file; `dir` is where the files that it includes are.
    fn file(&mut self, file: &Path, dir: &Path, depth: usize, must: bool) -> Result<(), Fault> {
        let text = match load(file) {
            Ok(text) => text,
            Err(error) if !must && error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                let message = format!("{}: the ssh configuration cannot be read", file.display());
                let word = shell_word(&file.to_string_lossy());
                let fault = Fault::new(Code::InvalidConfig, message).cause(error);
                return Err(fault.hint(format!("ls -l -- {word}")));
            }
        };
        self.files += 1;
        let mut applies = true;
        for (index, line) in text.lines().enumerate() {
            let at = At { file, line: index + 1 };
            let Some((name, rest)) = keyword(line) else { continue };
            // The rest of its line is for a shell.
            if name == "proxycommand" {
                if applies {
                    self.set(&name, &[rest.trim().to_owned()]);
                }
                continue;
            }
            let words = words(rest).ok_or_else(|| at.refuse("a quotation mark is not closed"))?;
            match name.as_str() {
                _ if words.is_empty() => return Err(at.refuse("the option has no value")),
                "host" => {
                    let patterns = words.iter().map(String::as_str);
                    applies = pattern::list_matches(self.address.host(), patterns);
                }
                "match" => applies = self.matches(&words, &at)?,
                _ if !applies => {}
                "include" => self.include(&words, dir, depth, &at)?,
                _ => self.set(&name, &words),
            }
        }
        Ok(())
    }

    /// The first value counts, except where all do.
    fn set(&mut self, name: &str, words: &[String]) {
        // Of the two, whichever comes first sets off the other; `ProxyJump none` is no way.
        let is_set_off = match name {
            "proxyjump" => self.options.has("proxycommand"),
            "proxycommand" => self.options.first("proxyjump").is_some_and(|jump| jump != "none"),
            _ => false,
        };
        if is_set_off || (self.options.has(name) && !COLLECTED.contains(&name)) {
            return;
        }
        if name == "hostname" {
            let Some(host) = words.first() else { return };
            // The only tokens that it may have.
            let host = host.replace("%h", self.address.host()).replace("%%", "%");
            return self.options.push(name, &host);
        }
        let most = if LISTS.contains(&name) { usize::MAX } else { 1 };
        words.iter().take(most).for_each(|word| self.options.push(name, word));
    }

    /// Whether all the conditions of a `Match` hold. One that is not known here never does.
    fn matches(&self, words: &[String], at: &At<'_>) -> Result<bool, Fault> {
        let mut holds = true;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (negated, condition) = match word.strip_prefix('!') {
                Some(condition) => (true, condition),
                None => (false, word.as_str()),
            };
            let host = self.address.host();
            let subject = match condition.to_ascii_lowercase().as_str() {
                "all" => continue,
                "host" => self.options.first("hostname").unwrap_or(host),
                "originalhost" => host,
                "user" => self.options.first("user").unwrap_or(&self.around.user),
                "localuser" => &self.around.user,
                _ => return Ok(false),
            };
            let list = words.next().ok_or_else(|| at.refuse("a condition has no pattern"))?;
            holds &= pattern::list_matches(subject, list.split(',')) != negated;
        }
        Ok(holds)
    }

    fn include(
        &mut self,
        words: &[String],
        dir: &Path,
        depth: usize,
        at: &At<'_>,
    ) -> Result<(), Fault> {
        if depth >= MAX_DEPTH {
            return Err(at.refuse("the files include each other too deep"));
        }
        for word in words {
            let path = dir.join(expand::home(word, &self.around.home));
            for file in expand_pattern(&path) {
                if self.files >= MAX_FILES {
                    return Err(at.refuse("too many files are included"));
                }
                self.file(&file, dir, depth + 1, false)?;
            }
        }
        Ok(())
    }
}

fn load(file: &Path) -> io::Result<String> {
    if !std::fs::metadata(file)?.is_file() {
        // `-F /dev/null` is how one says: no configuration.
        let problem = io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
        return if file == Path::new("/dev/null") { Ok(String::new()) } else { Err(problem) };
    }
    let mut bytes = Vec::new();
    File::open(file)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let message = format!("it has more than {MAX_FILE_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The name of an option in small letters, and its value; nothing of a comment.
fn keyword(line: &str) -> Option<(String, &str)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
    Some((name.trim_matches('"').to_ascii_lowercase(), rest))
}

/// The words of a value; quotation marks keep blanks, `#` in front of a word ends the line. Nothing
/// when a quotation mark is open.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, quote) {
            ('\\', _) => {
                let escaped = rest.next_if(|&next| {
                    matches!(next, '"' | '\'' | '\\') || (next == ' ' && quote.is_none())
                });
                word.get_or_insert_default().push(escaped.unwrap_or('\\'));
            }
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('#', None) if word.is_none() => break,
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// The files that a path with `*` and `?` in its parts names, sorted.
fn expand_pattern(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in path.components() {
        let text = part.as_os_str().to_string_lossy();
        if text.contains(['*', '?']) {
            found = found.iter().flat_map(|dir| entries(dir, &text)).collect();
        } else {
            for dir in &mut found {
                dir.push(part);
            }
        }
    }
    found
}

fn entries(dir: &Path, wanted: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let names = entries.take(MAX_ENTRIES).filter_map(Result::ok).map(|entry| entry.file_name());
    let mut paths: Vec<PathBuf> = names
        .filter(|name| {
            let name = name.to_string_lossy();
            // What begins with a dot is not meant by a pattern that does not.
            name.starts_with('.') == wanted.starts_with('.') && pattern::matches(&name, wanted)
        })
        .map(|name| dir.join(name))
        .collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_words_with_quotes_escapes_and_comments() {
        let cases: [(&str, &[&str]); 7] = [
            (r#"a  "b c" d"#, &["a", "b c", "d"]),
            ("a'b c'd # rest", &["ab cd"]),
            (r#""" x#y"#, &["", "x#y"]),
            (r#""a\"b" c\ d"#, &["a\"b", "c d"]),
            (r"corp\me", &[r"corp\me"]),
            ("# all", &[]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(words(text).unwrap(), expected, "{text}");
        }
        assert_eq!(words("a \"b"), None);
        assert_eq!(keyword(" Port=22"), Some(("port".into(), "22")));
        assert_eq!(keyword("\tHostName = x y"), Some(("hostname".into(), "x y")));
        assert_eq!(keyword("# Host x"), None);
    }

    proptest! {
        #[test]
        fn no_line_upsets_the_reader(line in "[a-z\"'\\\\# =]{0,30}|.{0,40}") {
            if let Some((_, rest)) = keyword(&line) {
                let _ = words(rest);
            }
        }
    }
}
