//! Code in colours: which part of a line is a comment, a string, a word of the language.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use synoptic::{Highlighter, TokOpt, TokenRef, from_extension};

use crate::tui::rows::{Kind, Span};

/// Columns of a tab, as everywhere in an answer.
const TAB: usize = 4;
/// Bytes of a line that is looked at; a longer one is data.
const MAX_LINE_BYTES: usize = 2_000;
/// Lines that something may be open for. A quote that never ends is none.
const MAX_OPEN_LINES: usize = 400;

/// Names of languages as models write them, and as the library knows them.
const NAMES: &[(&str, &str)] = &[
    ("bash", "sh"),
    ("c++", "cpp"),
    ("console", "sh"),
    ("csharp", "cs"),
    ("golang", "go"),
    ("haskell", "hs"),
    ("javascript", "js"),
    ("jsonc", "json"),
    ("jsx", "js"),
    ("kotlin", "kt"),
    ("latex", "tex"),
    ("objective-c", "m"),
    ("perl", "pl"),
    ("py3", "py"),
    ("python", "py"),
    ("python3", "py"),
    ("rust", "rs"),
    ("scss", "css"),
    ("shell", "sh"),
    ("typescript", "ts"),
    ("yml", "yaml"),
    ("zsh", "sh"),
];

/// Languages that were used. Making one compiles its patterns, which takes some milliseconds.
static MADE: Mutex<BTreeMap<String, Option<Highlighter>>> = Mutex::new(BTreeMap::new());
/// Names that are remembered. Models may invent some.
const MAX_MADE: usize = 64;

/// Colours the lines of one block, in their order.
#[derive(Debug)]
pub struct Painter(Option<Highlighter>);

impl Painter {
    /// For a language, by the first word after the fence.
    pub fn of(label: &str) -> Self {
        let word = label.split([' ', ',', '{']).next().unwrap_or_default().to_lowercase();
        let known = NAMES.iter().find(|(name, _)| *name == word);
        let name = known.map_or(word.as_str(), |(_, name)| name);
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = made.get(name) {
            return Self(found.clone());
        }
        let fresh = from_extension(name, TAB);
        if made.len() < MAX_MADE {
            made.insert(name.to_owned(), fresh.clone());
        }
        Self(fresh)
    }

    /// The spans of the next line.
    pub fn line(&mut self, line: &str) -> Vec<Span> {
        let spans = self.append(line);
        if let Some(highlighter) = &mut self.0 {
            let open =
                matches!(highlighter.tokens.last(), Some(TokenRef::Bounded { end: None, .. }));
            // What is behind is forgotten: only something open may reach into the next line.
            if !open || highlighter.atoms.len() > MAX_OPEN_LINES {
                highlighter.run(&[]);
            }
        }
        spans
    }

    /// The spans of a line that is not complete; it will come again.
    pub fn peek(&mut self, line: &str) -> Vec<Span> {
        let spans = self.append(line);
        if let Some(highlighter) = &mut self.0
            && let Some(last) = highlighter.atoms.len().checked_sub(1)
            && line.len() <= MAX_LINE_BYTES
        {
            highlighter.remove_line(last);
        }
        spans
    }

    fn append(&mut self, line: &str) -> Vec<Span> {
        // As it will be seen: what the library counts is what is drawn.
        let clean = Span::new(line, Kind::Code);
        let Some(highlighter) = self.0.as_mut().filter(|_| line.len() <= MAX_LINE_BYTES) else {
            return vec![clean];
        };
        highlighter.append(&clean.text);
        let tokens = highlighter.line(highlighter.atoms.len() - 1, &clean.text);
        let spans: Vec<Span> = tokens.into_iter().map(span).collect();
        let length: usize = spans.iter().map(|span| span.text.len()).sum();
        // A colour may be wrong; a text may not.
        if length == clean.text.len() { spans } else { vec![clean] }
    }
}

fn span(token: TokOpt) -> Span {
    let (text, kind) = match token {
        TokOpt::None(text) => (text, Kind::Code),
        TokOpt::Some(text, name) => {
            let kind = match name.as_str() {
                "comment" | "quote" | "deletion" => Kind::Comment,
                "string" | "character" | "insertion" => Kind::Literal,
                "digit" | "boolean" => Kind::Number,
                "keyword" | "kw" | "tag" | "heading" | "header" | "attribute" => Kind::Keyword,
                _ => Kind::Code,
            };
            (text, kind)
        }
    };
    Span { text, kind }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds(label: &str, lines: &[&str]) -> Vec<(String, Kind)> {
        let mut painter = Painter::of(label);
        let spans = lines.iter().flat_map(|line| painter.line(line));
        spans.filter(|span| span.kind != Kind::Code).map(|it| (it.text, it.kind)).collect()
    }

    #[test]
    fn words_strings_and_comments_of_a_language_are_told_apart() {
        let found = kinds("rust", &["fn x() { \"a\" } // b", "/* c", "d */ 7"]);
        let wanted = [
            ("fn", Kind::Keyword),
            ("\"a\"", Kind::Literal),
            ("// b", Kind::Comment),
            ("/* c", Kind::Comment),
            ("d */", Kind::Comment),
            ("7", Kind::Number),
        ];
        assert_eq!(found, wanted.map(|(text, kind)| (text.to_owned(), kind)));
        assert_eq!(kinds("no-such-language", &["fn \"x\""]), []);
    }

    proptest! {
        #[test]
        fn any_text_in_any_language_stays_the_text_and_a_peek_leaves_no_trace(
            language in prop::sample::select(vec!["rust", "python", "js", "sh", "html", "c++",
                "json", "yaml", "sql", "php", "cs", "go", "toml", "css", "md"]),
            lines in prop::collection::vec("[ -~é日\\t\u{301}]{0,40}|\\PC{0,20}", 1..6),
        ) {
            let (mut plain, mut peeking) = (Painter::of(language), Painter::of(language));
            for line in &lines {
                peeking.peek(&line[..line.floor_char_boundary(line.len() / 2)]);
                let spans = plain.line(line);
                prop_assert_eq!(&peeking.line(line), &spans);
                let text: String = spans.into_iter().map(|span| span.text).collect();
                prop_assert_eq!(text, Span::new(line, Kind::Code).text);
            }
        }
    }
}
