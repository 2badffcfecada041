//! What is changed in a template's tags before it is compiled: nothing that it writes.

use super::operators;

/// The filter that a rewritten template calls at every step that it may repeat. A filter, since a
/// template can give the name of a variable or function another meaning, but not a filter's.
pub(super) const STEP: &str = "rbee_step";

/// Rewrites the tags and expressions of `source`, and no other part of it:
///
/// - `{% generation %}` and its end, which mark the assistant's part for training, become blocks
///   that write what is in them. What is set within is not seen behind them.
/// - Operators that minijinja lacks are put into its words ([`operators`]).
/// - What can be repeated, or can make a large value, is followed by a call of [`STEP`], so that a
///   template that runs for long can be ended.
///
/// The marks of whitespace control stay where they count.
pub(super) fn rewrite(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((at, kind)) = next_opening(rest) {
        let (before, opened) = rest.split_at(at);
        let (opening, inside) = opened.split_at(2);
        out.push_str(before);
        out.push_str(opening);
        let length = match kind {
            '#' => inside.find("#}"),
            '{' => closing(inside, "}}"),
            _ => closing(inside, "%}"),
        };
        // A tag without an end: the compiler says so.
        let Some((tag, after)) = length.map(|length| inside.split_at(length)) else {
            out.push_str(inside);
            return out;
        };
        rest = after;
        match kind {
            '#' => out.push_str(tag),
            '{' => out.push_str(&operators::rewrite(tag)),
            _ => out.push_str(&rewritten(&operators::rewrite(tag))),
        }
        if kind != '%' {
            continue;
        }
        if word_of(tag) == "raw" {
            let end = after.find("endraw").unwrap_or(after.len());
            let (raw, after) = after.split_at(end);
            out.push_str(raw);
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// Where the next tag, expression or comment begins, and which of them it is.
fn next_opening(text: &str) -> Option<(usize, char)> {
    text.match_indices('{').find_map(|(at, brace)| {
        let kind = text.get(at + brace.len()..)?.chars().next()?;
        matches!(kind, '%' | '{' | '#').then_some((at, kind))
    })
}

/// Where `end` is outside of quoted text.
fn closing(inside: &str, end: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if inside.get(at..).is_some_and(|rest| rest.starts_with(end)) => return Some(at),
            Some(_) | None => {}
        }
    }
    None
}

/// The first word of a tag.
fn word_of(tag: &str) -> &str {
    let tag = tag.trim_start_matches(['-', '+']).trim_start();
    tag.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

fn rewritten(tag: &str) -> String {
    match word_of(tag) {
        "generation" => tag.replacen("generation", "with", 1),
        "endgeneration" => tag.replacen("endgeneration", "endwith", 1),
        "for" | "macro" | "set" => {
            let bare = tag.trim_end_matches(['-', '+']);
            let mark = tag.get(bare.len()..).unwrap_or_default();
            // The second tag stands right behind the first, and takes its mark: what is trimmed
            // behind a tag is trimmed as before.
            format!("{bare}%}}{{% set {STEP} = none|{STEP} {mark}")
        }
        _ => tag.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_is_followed_by_a_step_that_takes_its_mark() {
        assert_eq!(
            rewrite("{%- for a in b -%} x {% endfor %}"),
            "{%- for a in b %}{% set rbee_step = none|rbee_step -%} x {% endfor %}"
        );
        assert_eq!(rewrite("{%macro f()%}"), "{%macro f()%}{% set rbee_step = none|rbee_step %}");
    }

    #[test]
    fn reversing_slices_become_calls_and_texts_of_them_do_not() {
        assert_eq!(
            rewrite("{% if a[::-1] %}{{ b[::-1][0] ~ '[::-1]' }}{# [::-1] #}[::-1]{% endif %}"),
            "{% if a.rbee_reversed() %}{{ b.rbee_reversed()[0] ~ '[::-1]' }}{# [::-1] #}[::-1]\
             {% endif %}"
        );
    }

    #[test]
    fn texts_comments_expressions_and_raw_parts_stay_as_they_are() {
        let same = [
            "{{ '{% for x in y %}' }} {# {% for x in y %} #}",
            "{% raw %}{% for x in y %}{% endraw %}",
            "{% if '%}{% for' == \"\\\"%}\" %}{% endif %}",
            "{ % } { {x}} {",
            "{% for",
            "plain",
        ];
        for source in same {
            assert_eq!(rewrite(source), source);
        }
    }
}
