//! Which names an entry of a known hosts file, or a block of an ssh configuration, speaks of.

use hmac::{Hmac, KeyInit, Mac};
use russh::keys::ssh_encoding::base64::{Base64, Encoding};
use sha1::Sha1;

/// Whether `name` is what `pattern` says: `*` is any text, `?` any one byte; case does not matter.
pub fn matches(name: &str, pattern: &str) -> bool {
    let (name, pattern) = (name.as_bytes(), pattern.as_bytes());
    let (mut at, mut rule) = (0, 0);
    // Where to go on when the text after the last star turned out not to be here.
    let mut retry: Option<(usize, usize)> = None;
    while let Some(byte) = name.get(at) {
        match pattern.get(rule) {
            Some(b'*') => {
                rule += 1;
                retry = Some((rule, at));
            }
            Some(wanted) if *wanted == b'?' || wanted.eq_ignore_ascii_case(byte) => {
                at += 1;
                rule += 1;
            }
            _ => match retry.as_mut() {
                Some((after_star, taken)) => {
                    *taken += 1;
                    (at, rule) = (*taken, *after_star);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(rule).all(|&byte| byte == b'*')
}

/// Whether a list of patterns speaks of `name`: one of them does, and none with a `!` does.
pub fn list_matches<'a>(name: &str, patterns: impl IntoIterator<Item = &'a str>) -> bool {
    let mut found = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(pattern) if matches(name, pattern) => return false,
            Some(_) => {}
            None => found |= matches(name, pattern),
        }
    }
    found
}

/// Whether the first word of a known hosts entry speaks of `name`, which is in small letters.
pub fn names_match(name: &str, names: &str) -> bool {
    match names.strip_prefix("|1|") {
        Some(hashed) => hash_matches(name, hashed) == Some(true),
        None => list_matches(name, names.split(',')),
    }
}

/// `salt|hash`, both in base64: the hash is HMAC-SHA1 of the name, keyed by the salt.
fn hash_matches(name: &str, hashed: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let salt = Base64::decode_vec(salt).ok()?;
    let hash = Base64::decode_vec(hash).ok()?;
    Some(keyed(name, &salt)?.verify_slice(&hash).is_ok())
}

fn keyed(name: &str, salt: &[u8]) -> Option<Hmac<Sha1>> {
    Some(Hmac::<Sha1>::new_from_slice(salt).ok()?.chain_update(name))
}

/// `name` as `|1|salt|hash`.
pub fn hashed(name: &str, salt: &[u8]) -> Option<String> {
    let hash = keyed(name, salt)?.finalize().into_bytes();
    Some(format!("|1|{}|{}", Base64::encode_string(salt), Base64::encode_string(&hash)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_marks_and_negations_select_names() {
        let cases = [
            ("pc", "pc", true),
            ("pc", "PC", true),
            ("pc.lan", "*.lan", true),
            ("pc.lan", "pc", false),
            ("pc", "p?", true),
            ("p", "p?", false),
            ("abcbcd", "a*bcd", true),
            ("", "*", true),
            ("", "?", false),
            ("pc.lan", "*.lan,!pc.*", false),
            ("pc.lan", "!pc.*,*.lan", false),
            ("hub.lan", "!pc.*,*.lan", true),
            ("hub", "!pc", false),
            ("[pc]:2222", "[pc]:2222", true),
            ("[pc]:2222", "[*]:22??", true),
            ("pc", "[pc]:22", false),
        ];
        for (name, names, expected) in cases {
            assert_eq!(names_match(name, names), expected, "{name} in {names}");
        }
    }

    #[test]
    fn a_name_that_openssh_hashed_is_found() {
        // ssh-keygen -H
        let names = "|1|XFIntWBAwzUXdUSLjnAZZbY2zHs=|lq1CwTuWWkTuSWROmn0Qe/S+WYo=";
        assert!(names_match("example.com", names));
        assert!(!names_match("example.org", names));
        for broken in ["|1|", "|1|a|b", "|1||", "|1|XFIntWBAwzUXdUSLjnAZZbY2zHs=", "|2|x|y"] {
            assert!(!names_match("example.com", broken), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_made_of_a_name_matches_it(
            name in "[a-z.\\[\\]:0-9]{0,24}", cut in 0usize..24,
        ) {
            let cut = cut.min(name.len());
            let beginning = format!("{}*", &name[..cut]);
            prop_assert!(matches(&name, &name));
            prop_assert!(matches(&name, &beginning));
            prop_assert!(matches(&name, &"?".repeat(name.len())));
        }

        #[test]
        fn no_text_upsets_the_matcher(name in ".{0,40}", pattern in "[*?!|a-c,]{0,40}|.{0,40}") {
            let _ = names_match(&name, &pattern);
        }

        #[test]
        fn a_hashed_name_is_found_by_itself_alone(
            name in "[a-z]{1,20}", salt in any::<[u8; 20]>(),
        ) {
            let names = hashed(&name, &salt).unwrap();
            prop_assert!(names_match(&name, &names));
            let other = format!("{name}x");
            prop_assert!(!names_match(&other, &names));
        }
    }
}
