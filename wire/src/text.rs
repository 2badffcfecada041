//! Neutralising text that came from a model, a hive, a process or a file name.

/// Whether `c` could move a cursor, reorder a line or hide text: C0 and C1 controls, DEL, the
/// Unicode bidirectional and invisible formatting characters (Unicode 16, sections 23.2 and 23.3).
fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2028}' | '\u{2029}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// `text` for a terminal: newline and tab pass, every other dangerous character becomes `�`.
pub fn for_terminal(text: &str) -> String {
    text.chars()
        .map(|c| if c != '\n' && c != '\t' && is_dangerous(c) { '\u{fffd}' } else { c })
        .collect()
}

/// `text` as one line of at most `max_bytes` (plus an ellipsis): dangerous characters, newlines and
/// tabs too, become a blank.
pub fn one_line(text: &str, max_bytes: usize) -> String {
    let mut line = String::with_capacity(text.len().min(max_bytes));
    for c in text.chars() {
        let c = if is_dangerous(c) { ' ' } else { c };
        if line.len() + c.len_utf8() > max_bytes {
            line.push('…');
            break;
        }
        line.push(c);
    }
    line
}

/// `text` as one word of a POSIX shell's line (IEEE 1003.1, section 2.2.2), so that a hint can be
/// pasted whatever a file is called. Control characters become `?`.
pub fn shell_word(text: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&b);
    if !text.is_empty() && !text.starts_with('-') && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    let clean: String = text.chars().map(|c| if is_dangerous(c) { '?' } else { c }).collect();
    format!("'{}'", clean.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pasted_word_stays_one_word() {
        assert_eq!(shell_word("/models/a-1.gguf"), "/models/a-1.gguf");
        assert_eq!(shell_word("x';touch pwned;'.gguf"), r"'x'\'';touch pwned;'\''.gguf'");
        assert_eq!(shell_word("$(touch x) `y`\n\u{1b}"), "'$(touch x) `y`??'");
        assert_eq!((shell_word(""), shell_word("-n")), ("''".into(), "'-n'".into()));
    }
    use proptest::prelude::*;

    #[test]
    fn escapes_and_overrides_do_not_pass() {
        let hostile = "a\u{1b}[31mb\nc\td\u{202e}e\u{9b}";
        assert_eq!(for_terminal(hostile), "a\u{fffd}[31mb\nc\td\u{fffd}e\u{fffd}");
        assert_eq!(one_line("a\nb\tc\u{1b}", 99), "a b c ");
        assert_eq!(one_line("héllo", 3), "hé…");
        assert_eq!(for_terminal("日本語 👩‍👩‍👧 é"), "日本語 👩‍👩‍👧 é");
    }

    proptest! {
        #[test]
        fn one_line_is_bounded_and_has_no_control(
            text in "\\PC*|[\\x00-\\x9f]*", max in 0usize..64,
        ) {
            let line = one_line(&text, max);
            prop_assert!(line.len() <= max + '…'.len_utf8());
            prop_assert!(!line.chars().any(char::is_control));
            let escaped = for_terminal(&text).contains('\u{1b}');
            prop_assert!(!escaped);
        }
    }
}
