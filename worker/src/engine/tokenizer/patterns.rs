//! Finds tokens that are written out in a text: the longest at each place, in bounded time.

/// Bytes of the longest token that is searched for; longer ones belong to no known model.
pub(super) const MAX_PATTERN_BYTES: usize = 256;

/// Texts with the tokens that they stand for.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    /// Sorted by text, none empty.
    sorted: Vec<(String, u32)>,
}

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'t> {
    /// Text without any of the patterns.
    Plain(&'t str),
    /// One of them.
    Token(u32),
}

impl Patterns {
    /// The patterns, none of them empty.
    pub(super) fn new(mut patterns: Vec<(String, u32)>) -> Self {
        patterns.retain(|(text, _)| !text.is_empty());
        patterns.sort_unstable();
        Self { sorted: patterns }
    }

    /// The patterns, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.sorted.iter().map(|(text, _)| text.as_str())
    }

    /// The longest pattern that `text` begins with.
    pub(super) fn longest_at(&self, text: &str) -> Option<&(String, u32)> {
        let mut among = self.sorted.as_slice();
        let mut longest = None;
        for (depth, byte) in text.bytes().enumerate() {
            // A slice that shares its first `depth` bytes is sorted by the next one.
            let byte_at = |pattern: &(String, u32)| pattern.0.as_bytes().get(depth).copied();
            let from = among.partition_point(|pattern| byte_at(pattern) < Some(byte));
            let rest = among.get(from..).unwrap_or_default();
            let to = rest.partition_point(|pattern| byte_at(pattern) == Some(byte));
            among = rest.get(..to).unwrap_or_default();
            match among.first() {
                None => break,
                Some(first) if first.0.len() == depth + 1 => longest = Some(first),
                Some(_) => {}
            }
        }
        longest
    }

    /// Whether a pattern begins with `text` and goes on after it.
    pub(super) fn any_goes_on(&self, text: &str) -> bool {
        let from = self.sorted.partition_point(|(pattern, _)| pattern.as_str() <= text);
        self.sorted.get(from).is_some_and(|(pattern, _)| pattern.starts_with(text))
    }

    /// Cuts `text` at every pattern, leftmost and longest first.
    pub(super) fn split<'t>(&self, text: &'t str) -> Vec<Part<'t>> {
        let mut parts = Vec::new();
        let mut plain_from = 0;
        let mut skip_to = 0;
        for (at, _) in text.char_indices() {
            if at < skip_to {
                continue;
            }
            let Some((pattern, token)) = text.get(at..).and_then(|rest| self.longest_at(rest))
            else {
                continue;
            };
            push_plain(&mut parts, text.get(plain_from..at));
            parts.push(Part::Token(*token));
            skip_to = at + pattern.len();
            plain_from = skip_to;
        }
        push_plain(&mut parts, text.get(plain_from..));
        parts
    }
}

fn push_plain<'t>(parts: &mut Vec<Part<'t>>, text: Option<&'t str>) {
    parts.extend(text.filter(|text| !text.is_empty()).map(Part::Plain));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn patterns(texts: &[&str]) -> Patterns {
        Patterns::new(texts.iter().map(|text| (*text).to_owned()).zip(0..).collect())
    }

    #[test]
    fn the_longest_pattern_at_the_leftmost_place_wins() {
        let patterns = patterns(&["<|a|>", "<|a|>b", "b", "日本"]);
        assert_eq!(
            patterns.split("x<|a|>bc日本<|a"),
            [
                Part::Plain("x"),
                Part::Token(1),
                Part::Plain("c"),
                Part::Token(3),
                Part::Plain("<|a")
            ]
        );
        assert!(patterns.any_goes_on("<|a") && patterns.any_goes_on("<|a|>"));
        assert!(!patterns.any_goes_on("b") && !patterns.any_goes_on("x"));
    }

    proptest! {
        #[test]
        fn a_split_finds_what_a_plain_search_finds(
            texts in prop::collection::vec("[ab<é]{1,3}", 0..6), text in "[ab<é]{0,12}",
        ) {
            let mut texts = texts;
            texts.sort();
            texts.dedup();
            let patterns = Patterns::new(texts.iter().cloned().zip(0..).collect());
            let mut rebuilt = String::new();
            for part in patterns.split(&text) {
                let at = rebuilt.len();
                match part {
                    Part::Token(token) => {
                        let found = &texts[usize::try_from(token).unwrap()];
                        let here = texts.iter().filter(|t| text[at..].starts_with(*t));
                        let longest = here.max_by_key(|t| t.len());
                        prop_assert_eq!(Some(found), longest);
                        rebuilt.push_str(found);
                    }
                    Part::Plain(plain) => {
                        for (offset, _) in plain.char_indices() {
                            let rest = &text[at + offset..];
                            prop_assert!(!texts.iter().any(|t| rest.starts_with(t.as_str())));
                        }
                        rebuilt.push_str(plain);
                    }
                }
            }
            prop_assert_eq!(rebuilt, text);
        }
    }
}
