//! Python's operators that minijinja lacks, put into its words: `'…' % x` becomes a call of a
//! filter, `+x` two minus signs, and `[::-1]` a call of a method.

use minijinja::value::{Kwargs, Tuple, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

/// The method that a reversing slice becomes: minijinja's own slice panics on an empty list.
pub(super) const REVERSED: &str = "rbee_reversed";
/// The filter that a text followed by `%` becomes.
pub(super) const PERCENT: &str = "rbee_percent";
/// Words behind which an operand stands.
const KEYWORDS: [&str; 8] = ["and", "or", "not", "in", "is", "if", "elif", "else"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Blank,
    Text,
    Word,
    Sign,
}

/// What is written in a tag, cut into blanks, texts in quotes, words and signs.
fn cut(tag: &str) -> Vec<(Kind, &str)> {
    let mut pieces = Vec::new();
    let mut rest = tag;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let end_of = |is_part: &dyn Fn(char) -> bool| rest.find(|c: char| !is_part(c));
        let (kind, end) = match first {
            '"' | '\'' => (Kind::Text, end_of_text(rest, first)),
            c if c.is_whitespace() => (Kind::Blank, end_of(&char::is_whitespace)),
            c if is_word(c) => (Kind::Word, end_of(&is_word)),
            _ if rest.starts_with("**") || rest.starts_with("//") => (Kind::Sign, Some(2)),
            c => (Kind::Sign, Some(c.len_utf8())),
        };
        let (piece, after) = rest.split_at(end.unwrap_or(rest.len()));
        pieces.push((kind, piece));
        rest = after;
    }
    pieces
}

fn end_of_text(text: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = !is_escaped && *c == quote;
        is_escaped = !is_escaped && *c == '\\';
        ends
    });
    end.map(|(at, c)| at + c.len_utf8())
}

/// A tag, without what opens and closes it, in minijinja's words. The marks of whitespace control
/// at its ends stay.
pub(super) fn rewrite(tag: &str) -> String {
    let bare = tag.strip_prefix(['-', '+']).unwrap_or(tag);
    let (mark, _) = tag.split_at(tag.len() - bare.len());
    let mut out = mark.to_owned();
    let pieces = cut(bare);
    write(&pieces, &mut out);
    out
}

fn write(pieces: &[(Kind, &str)], out: &mut String) {
    let mut at = 0;
    while let Some((kind, piece)) = pieces.get(at).copied() {
        let rest = pieces.get(at..).unwrap_or_default();
        if kind == Kind::Text
            && let Some((start, end)) = operand(rest)
        {
            out.extend([piece, "|", PERCENT, "("]);
            write(rest.get(start..end).unwrap_or_default(), out);
            out.push(')');
            at += end;
        } else if rest.iter().map(|(_, piece)| *piece).take(6).eq(["[", ":", ":", "-", "1", "]"]) {
            out.extend([".", REVERSED, "()"]);
            at += 6;
        } else {
            let is_plus = piece == "+" && kind == Kind::Sign;
            let is_unary = is_plus && wants_operand(pieces.get(..at).unwrap_or_default());
            let is_last = rest.iter().skip(1).all(|(kind, _)| *kind == Kind::Blank);
            out.push_str(if is_unary && !is_last { "- -" } else { piece });
            at += 1;
        }
    }
}

/// Whether what stands behind `before` is an operand and no operator.
fn wants_operand(before: &[(Kind, &str)]) -> bool {
    match before.iter().rev().find(|(kind, _)| *kind != Kind::Blank) {
        None => true,
        Some((Kind::Word, word)) => KEYWORDS.contains(word),
        Some((Kind::Sign, sign)) => !matches!(*sign, ")" | "]" | "}"),
        Some(_) => false,
    }
}

/// Where the operand of `%` begins and ends, if `pieces` begin with a text and that operator.
fn operand(pieces: &[(Kind, &str)]) -> Option<(usize, usize)> {
    let sign = skip_blanks(pieces, 1);
    (pieces.get(sign)?.1 == "%").then_some(())?;
    let start = skip_blanks(pieces, sign + 1);
    let mut at = start;
    while matches!(pieces.get(at)?.1, "-" | "+") {
        at = skip_blanks(pieces, at + 1);
    }
    let mut end = primary(pieces, at)?;
    loop {
        let next = skip_blanks(pieces, end);
        let behind = skip_blanks(pieces, next + 1);
        end = match pieces.get(next).map(|(_, piece)| *piece) {
            Some("(" | "[") => primary(pieces, next)?,
            Some("." | "|" | "**") => primary(pieces, behind)?,
            _ => return Some((start, end)),
        };
    }
}

fn skip_blanks(pieces: &[(Kind, &str)], from: usize) -> usize {
    let blanks = pieces.iter().skip(from).take_while(|(kind, _)| *kind == Kind::Blank);
    from + blanks.count()
}

/// The end of a word, a text, or all that is in brackets.
fn primary(pieces: &[(Kind, &str)], at: usize) -> Option<usize> {
    let (kind, piece) = pieces.get(at)?;
    if matches!(kind, Kind::Word | Kind::Text) {
        return Some(at + 1);
    }
    matches!(*piece, "(" | "[" | "{").then_some(())?;
    let mut depth = 0usize;
    for (place, (_, piece)) in pieces.iter().enumerate().skip(at) {
        match *piece {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(place + 1);
        }
    }
    None
}

/// `text % operand`: a tuple has the values, a mapping those that are asked for by name.
pub(super) fn percent(state: &mut State, text: Value, operand: Value) -> Result<Value, Error> {
    let wanted = conversions(text.as_str().unwrap_or_default());
    let (text, operand) = represented(text, operand);
    let mut all = vec![text];
    let given = operand.downcast_object_ref::<Tuple>().map(|tuple| tuple.len());
    // What can be looked into by names may have more than is asked for.
    let is_open = matches!(operand.kind(), ValueKind::Map | ValueKind::Seq);
    if given.is_some_and(|given| given > wanted) || given.is_none() && !is_open && wanted == 0 {
        let why = "not all arguments converted during string formatting";
        return Err(Error::new(ErrorKind::InvalidOperation, why));
    }
    if let Some(tuple) = operand.downcast_object_ref::<Tuple>() {
        all.extend(tuple.iter().cloned());
    } else if operand.kind() == ValueKind::Map
        && all.iter().any(|text| text.as_str().is_some_and(|text| text.contains("%(")))
    {
        let mut named = Vec::new();
        for key in operand.try_iter()? {
            named.push((key.to_string(), operand.get_item(&key)?));
        }
        all.push(named.into_iter().collect::<Kwargs>().into());
    } else {
        all.push(operand);
    }
    state.apply_filter("format", &all)
}

/// `%r` of values in their order becomes `%s` of how Python writes them in a list.
fn represented(text: Value, operand: Value) -> (Value, Value) {
    const LETTERS: &str = "diouxXeEfFgGcrsa%";
    let Some(pattern) = text.as_str().filter(|text| text.contains('r')) else {
        return (text, operand);
    };
    let mut values = match operand.downcast_object_ref::<Tuple>() {
        Some(tuple) => tuple.iter().cloned().collect(),
        None => vec![operand.clone()],
    };
    let mut parts = pattern.split('%');
    let mut out = parts.next().unwrap_or_default().to_owned();
    let mut place = 0;
    while let Some(part) = parts.next() {
        out.push('%');
        let end = part.find(|c| LETTERS.contains(c)).filter(|_| !part.starts_with('('));
        match end.map(|end| part.split_at(end)) {
            Some((flags, letter)) if letter.starts_with('r') => {
                if let Some(value) = values.get_mut(place) {
                    let listed = Value::from(vec![value.clone()]).to_string();
                    let own = listed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
                    *value = Value::from(own.unwrap_or(&listed));
                }
                out.extend([flags, "s", letter.get(1..).unwrap_or_default()]);
                place += 1;
            }
            Some(_) => {
                out.push_str(part);
                place += 1;
            }
            // Two signs are one that is written.
            None if part.is_empty() => {
                out.push('%');
                out.push_str(parts.next().unwrap_or_default());
            }
            None => out.push_str(part),
        }
    }
    let operand = match operand.downcast_object_ref::<Tuple>() {
        Some(_) => Value::from(Tuple::from(values)),
        None => values.pop().unwrap_or_default(),
    };
    (Value::from(out), operand)
}

/// How many values a text asks for.
fn conversions(text: &str) -> usize {
    let mut signs = text.split('%').skip(1);
    let mut count = 0;
    while let Some(behind) = signs.next() {
        if behind.is_empty() {
            // Two signs are one that is written.
            signs.next();
        } else {
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::rewrite;

    #[test]
    fn operators_become_what_minijinja_knows() {
        let cases = [
            ("'%s' % x", "'%s'|rbee_percent(x)"),
            ("\"%s-%s\" % (a, b.c[0]|upper) ~ 1", "\"%s-%s\"|rbee_percent((a, b.c[0]|upper)) ~ 1"),
            ("'%d' % -x.y(1) + 2", "'%d'|rbee_percent(-x.y(1)) + 2"),
            ("'%s' % m['%s' % +k] if k", "'%s'|rbee_percent(m['%s'|rbee_percent(- -k)]) if k"),
            ("- +1 + +2 -", "- - -1 + - -2 -"),
            ("+ if +x +", "+ if - -x +"),
            ("a[::-1][0] ~ '[::-1]'", "a.rbee_reversed()[0] ~ '[::-1]'"),
        ];
        for (source, expected) in cases {
            assert_eq!(rewrite(source), expected);
        }
        for same in ["7 % 2", "x % y", "'%' %", "'a\\' % b'", "a + b", "(1) + 2", "'x' ~ '%s", ""] {
            assert_eq!(rewrite(same), same);
        }
    }
}
