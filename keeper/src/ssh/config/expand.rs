//! Tokens, variables and `~` in the values of an ssh configuration (`ssh_config(5)`, "TOKENS").

use std::path::{Path, PathBuf};

use wire::text::shell_word;

/// What the tokens stand for.
pub(super) struct Tokens<'a> {
    /// `%d`
    pub home: &'a Path,
    /// `%h`
    pub host: &'a str,
    /// `%i`
    pub uid: u32,
    /// `%k`
    pub key_name: &'a str,
    /// `%n`
    pub typed: &'a str,
    /// `%p`
    pub port: u16,
    /// `%r`
    pub user: &'a str,
    /// `%u`
    pub local_user: &'a str,
    /// `${NAME}`
    pub variable: fn(&str) -> Option<String>,
}

impl Tokens<'_> {
    fn value(&self, token: char) -> Option<String> {
        Some(match token {
            'd' => self.home.to_string_lossy().into_owned(),
            'h' => self.host.to_owned(),
            'i' => self.uid.to_string(),
            'k' => self.key_name.to_owned(),
            'n' => self.typed.to_owned(),
            'p' => self.port.to_string(),
            'r' => self.user.to_owned(),
            'u' => self.local_user.to_owned(),
            _ => return None,
        })
    }

    /// `text` with its tokens replaced; one that is not known stays as it is.
    pub(super) fn replace(&self, text: &str) -> String {
        self.replace_with(text, |value| value)
    }

    /// As [`Self::replace`], for a shell: each value is one word there, whatever is in it.
    pub(super) fn replace_in_command(&self, text: &str) -> String {
        self.replace_with(text, |value| shell_word(&value))
    }

    fn replace_with(&self, text: &str, written: impl Fn(String) -> String) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            match rest.next() {
                // One of two that stand for one, or the end.
                Some('%') | None => out.push('%'),
                Some(token) => match self.value(token) {
                    Some(value) => out.push_str(&written(value)),
                    None => out.extend(['%', token]),
                },
            }
        }
        out
    }

    /// `text` as a path: `~`, variables, tokens.
    ///
    /// # Errors
    /// The name of a variable that is not set.
    pub(super) fn path(&self, text: &str) -> Result<PathBuf, String> {
        let mut named = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, after)) = after.split_once('}') else { break };
            named.push_str(before);
            // Its own `%` is no token.
            let value = (self.variable)(name).ok_or_else(|| name.to_owned())?;
            named.push_str(&value.replace('%', "%%"));
            rest = after;
        }
        named.push_str(rest);
        Ok(home(&self.replace(&named), self.home))
    }
}

/// `~` and `~/…` with the home directory.
pub(super) fn home(text: &str, home: &Path) -> PathBuf {
    match text.strip_prefix('~') {
        Some("") => home.to_path_buf(),
        Some(rest) => match rest.strip_prefix('/') {
            Some(rest) => home.join(rest.trim_start_matches('/')),
            None => text.into(),
        },
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(user: &str) -> Tokens<'_> {
        Tokens {
            home: Path::new("/home/ada"),
            host: "pc.lan",
            uid: 1000,
            key_name: "alias",
            typed: "pc",
            port: 2222,
            user,
            local_user: "ada",
            variable: |name| (name == "DIR").then(|| "/100%h".to_owned()),
        }
    }

    #[test]
    fn tokens_variables_and_the_home_directory_are_replaced() {
        let cases = [
            ("~/.ssh/%r-%h_%p", r"/home/ada/.ssh/corp\me-pc.lan_2222"),
            ("%d/%n/%k/%u/%i", "/home/ada/pc/alias/ada/1000"),
            ("${DIR}/k", "/100%h/k"),
            ("a%%h", "a%h"),
            ("~", "/home/ada"),
            ("~bob/k", "~bob/k"),
            ("~//k", "/home/ada/k"),
            ("a~/%", "a~/%"),
            ("%Z", "%Z"),
            ("${DIR", "${DIR"),
        ];
        for (text, expected) in cases {
            assert_eq!(tokens(r"corp\me").path(text).unwrap(), Path::new(expected), "{text}");
        }
        assert_eq!(tokens(r"corp\me").path("${ABSENT}/k").unwrap_err(), "ABSENT");
    }

    #[test]
    fn a_value_is_one_word_of_a_command() {
        let command = tokens(r"corp\me").replace_in_command("nc -u '%%' %h %p # %r");
        assert_eq!(command, r"nc -u '%' pc.lan 2222 # 'corp\me'");
        let hostile = tokens("x';touch pwned;'");
        let command = hostile.replace_in_command("printf '%%s' %r");
        let shown = std::process::Command::new("/bin/sh").arg("-c").arg(command).output().unwrap();
        assert_eq!(String::from_utf8(shown.stdout).unwrap(), "x';touch pwned;'");
    }
}
