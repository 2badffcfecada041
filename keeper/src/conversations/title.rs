//! Titles of conversations, made from their first question.

use wire::text::one_line;

use super::MAX_TITLE_BYTES;

/// Characters of a title that is made: what a row of a list has room for.
const MAX_CHARS: usize = 60;

/// A title for a conversation that begins with a question: its first line that says something,
/// without Markdown's marks, cut between two words.
pub fn title(question: &str) -> String {
    let says = |line: &&str| line.chars().any(char::is_alphanumeric);
    let line = question.lines().find(says).unwrap_or("Untitled");
    let line = one_line(line, MAX_TITLE_BYTES);
    let marks = |c: char| c.is_whitespace() || "#>*-+`_~|".contains(c);
    let line = line.trim_matches(marks).replace(['`', '*'], "");
    let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.chars().count() <= MAX_CHARS {
        return words;
    }
    let cut: String = words.chars().take(MAX_CHARS).collect();
    // One word that long is cut where it must be.
    let end = cut.rfind(' ').filter(|at| *at > MAX_CHARS / 2).unwrap_or(cut.len());
    format!("{}…", cut.get(..end).unwrap_or(&cut).trim_end_matches([',', ';', ':', '.', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_title_is_the_first_line_that_says_something() {
        assert_eq!(title("What is a hive?"), "What is a hive?");
        assert_eq!(title("\n\n## `rbee` **run**  fails\nlog:"), "rbee run fails");
        assert_eq!(title("```\nlet x = 1;\n```"), "let x = 1;");
        assert_eq!(title("---\n"), "Untitled");
        let long = "please explain to me, in words that a child understands, why the sky is blue";
        assert_eq!(title(long), "please explain to me, in words that a child understands…");
    }

    proptest! {
        #[test]
        fn any_question_has_a_short_clean_title(question in "\\PC{0,300}|[ -~\\n\\x1b]{0,300}") {
            let title = title(&question);
            prop_assert!(title.chars().count() <= MAX_CHARS + 1, "{title}");
            prop_assert!(!title.chars().any(char::is_control), "{title:?}");
        }
    }
}
