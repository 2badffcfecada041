//! Edits the hives in a configuration's text. Every byte that is not the hive's own stays.

use std::ops::Range;

use toml_edit::{Document, DocumentMut, InlineTable, Item, Table, TomlError, Value};
use wire::HiveName;

use crate::config::HiveSettings;
use crate::output::theme::ThemeName;

/// The table that holds the hives.
const HIVES: &str = "hives";
/// The key of the theme.
const THEME: &str = "theme";

/// The text with one more hive: behind the last one, else at the end.
///
/// # Errors
/// When the text is no TOML.
pub fn with(text: &str, name: &HiveName, hive: &HiveSettings) -> Result<String, TomlError> {
    let document = Document::parse(text)?;
    let hives = document.get(HIVES);
    if hives.is_some_and(Item::is_inline_table) {
        return edited_inline(text, |hives| {
            hives.insert(name.as_str(), Value::InlineTable(settings(hive).into_inline_table()));
        });
    }
    let block = block(name, hive);
    let at = hives.and_then(Item::as_table).and_then(|hives| end_of_last(text, hives));
    let (before, after) = text.split_at_checked(at.unwrap_or(text.len())).unwrap_or((text, ""));
    let newline = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    let above = if before.is_empty() || before.ends_with("\n\n") { "" } else { "\n" };
    let below = if after.is_empty() || after.starts_with('\n') { "" } else { "\n" };
    Ok(format!("{before}{newline}{above}{block}{below}{after}"))
}

/// The text without a hive. Comments above it stay; those between its lines go with it.
///
/// # Errors
/// When the text is no TOML.
pub fn without(text: &str, name: &HiveName) -> Result<String, TomlError> {
    let document = Document::parse(text)?;
    let Some(hives) = document.get(HIVES) else { return Ok(text.to_owned()) };
    if hives.is_inline_table() {
        return edited_inline(text, |hives| {
            hives.remove(name.as_str());
        });
    }
    let mut ranges = Vec::new();
    if let Some((key, item)) = hives.as_table().and_then(|t| t.get_key_value(name.as_str())) {
        ranges_of(key.span(), item, &mut ranges);
    }
    let mut lines: Vec<Range<usize>> =
        ranges.into_iter().map(|range| whole_lines(text, &range)).collect();
    lines.sort_by_key(|range| range.start);
    let mut left = String::new();
    let mut from = 0;
    for range in lines {
        left.push_str(text.get(from..range.start).unwrap_or_default());
        from = range.end.max(from);
        let is_paragraph = left.is_empty() || left.ends_with("\n\n");
        if is_paragraph && text.get(from..).is_some_and(|rest| rest.starts_with('\n')) {
            from += 1;
        }
    }
    left.push_str(text.get(from..).unwrap_or_default());
    Ok(left)
}

/// The text with another theme: in the place of the old one, else before the first table.
///
/// # Errors
/// When the text is no TOML.
pub fn with_theme(text: &str, name: &ThemeName) -> Result<String, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    match document.get_mut(THEME).and_then(Item::as_value_mut) {
        Some(value) => {
            // What stands around it, a comment behind it too, stays.
            let decor = value.decor().clone();
            *value = Value::from(name.to_string());
            *value.decor_mut() = decor;
        }
        None => {
            document.insert(THEME, toml_edit::value(name.to_string()));
        }
    }
    Ok(document.to_string())
}

/// Changes `hives = { … }`, which is one value and has no comments of its own.
fn edited_inline(text: &str, change: impl FnOnce(&mut InlineTable)) -> Result<String, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    if let Some(hives) = document.get_mut(HIVES).and_then(Item::as_inline_table_mut) {
        change(hives);
    }
    Ok(document.to_string())
}

fn settings(hive: &HiveSettings) -> Table {
    let mut table = Table::new();
    table.insert("address", toml_edit::value(hive.address.to_string()));
    if let Some(identity) = &hive.identity {
        table.insert("identity", toml_edit::value(identity.to_string_lossy().into_owned()));
    }
    if !hive.jump.is_empty() {
        let jump = hive.jump.iter().map(ToString::to_string).collect::<toml_edit::Array>();
        table.insert("jump", toml_edit::value(jump));
    }
    table
}

/// `[hives.NAME]` and its lines.
fn block(name: &HiveName, hive: &HiveSettings) -> String {
    let mut hives = Table::new();
    hives.set_implicit(true);
    hives.insert(name.as_str(), Item::Table(settings(hive)));
    let mut document = DocumentMut::new();
    document.insert(HIVES, Item::Table(hives));
    document.to_string()
}

/// Where the last hive that has a header of its own ends.
fn end_of_last(text: &str, hives: &Table) -> Option<usize> {
    let tables = hives.iter().filter_map(|(_, item)| item.as_table());
    let headed = tables.filter(|table| !table.is_dotted() && !table.is_implicit());
    headed.filter_map(extent).map(|range| whole_lines(text, &range).end).max()
}

/// From a table's header to the end of its last value.
fn extent(table: &Table) -> Option<Range<usize>> {
    let header = table.span()?;
    let values = table.get_values();
    let ends = values.iter().filter_map(|(_, value)| Some(value.span()?.end));
    Some(header.start..ends.fold(header.end, usize::max))
}

/// Where the parts of one hive stand: under a header, as one value, or as dotted keys.
fn ranges_of(key: Option<Range<usize>>, item: &Item, ranges: &mut Vec<Range<usize>>) {
    match item {
        Item::Table(table) if table.is_dotted() => {
            for (name, _) in table {
                if let Some((key, item)) = table.get_key_value(name) {
                    ranges_of(key.span(), item, ranges);
                }
            }
        }
        Item::Table(table) => ranges.extend(extent(table)),
        item => {
            let end = item.span().map(|span| span.end);
            ranges.extend(key.zip(end).map(|(key, end)| key.start..end));
        }
    }
}

/// The lines that hold a range, the newline of the last one included.
fn whole_lines(text: &str, range: &Range<usize>) -> Range<usize> {
    let before = text.get(..range.start).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let rest = text.get(range.end..).unwrap_or_default();
    let end = rest.find('\n').map_or(text.len(), |newline| range.end + newline + 1);
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hive(address: &str) -> HiveSettings {
        let (identity, jump) = (None, Vec::new());
        let lifetime = wire::settings::Lifetime::Persistent;
        HiveSettings { address: address.parse().unwrap(), identity, jump, lifetime }
    }

    fn name(text: &str) -> HiveName {
        text.parse().unwrap()
    }

    const COMMENTED: &str = "\
# my machines
default_model = \"demo\"  # small

# the fast one
[hives.pc]
# its key is on the stick
address = \"ada@pc\"  # at home
jump = [
  \"gate\",
]

# colours
[run]
temperature = 0.5
# the end
";

    #[test]
    fn a_hive_is_added_behind_the_last_one_and_nothing_else_changes() {
        let hive = HiveSettings {
            identity: Some("/home/ada/it's a \"key\"".into()),
            jump: vec!["gate".parse().unwrap(), "me@b:2222".parse().unwrap()],
            ..hive("ada@attic")
        };
        let text = with(COMMENTED, &name("attic.lan"), &hive).unwrap();
        let at = text.find("[hives.\"attic.lan\"]").unwrap();
        assert!(text[..at].ends_with("]\n\n"), "{text}");
        let end = at + text[at..].find("\n\n# colours").unwrap();
        let (before, after) = (&text[..at - 1], &text[end + 1..]);
        assert_eq!(format!("{before}{after}"), COMMENTED);
        let config: crate::config::Config = toml::from_str(&text).unwrap();
        assert_eq!(config.hives[&name("attic.lan")], hive);
    }

    #[test]
    fn another_theme_changes_nothing_else() {
        let light: ThemeName = "light".parse().unwrap();
        let text = with_theme(COMMENTED, &light).unwrap();
        assert_eq!(text.replace("theme = \"light\"\n", ""), COMMENTED);
        let config: crate::config::Config = toml::from_str(&text).unwrap();
        assert_eq!(config.theme, light);
        let old = "# colours\ntheme = \"dark\"  # mine\n\n[run]\n# end\n";
        assert_eq!(with_theme(old, &light).unwrap(), old.replace("dark", "light"));
        assert_eq!(with_theme("", &light).unwrap(), "theme = \"light\"\n");
    }

    #[test]
    fn the_first_hive_stands_at_the_end() {
        let block = "[hives.pc]\naddress = \"pc\"\n";
        assert_eq!(with("", &name("pc"), &hive("pc")).unwrap(), block);
        let text = with("# only this", &name("pc"), &hive("pc")).unwrap();
        assert_eq!(text, format!("# only this\n\n{block}"));
        let text = with("[run]\n# x\n\n", &name("pc"), &hive("pc")).unwrap();
        assert_eq!(text, format!("[run]\n# x\n\n{block}"));
    }

    #[test]
    fn a_hive_goes_and_the_comments_around_it_stay() {
        let text = without(COMMENTED, &name("pc")).unwrap();
        let left = COMMENTED.replace(
            "[hives.pc]\n# its key is on the stick\naddress = \"ada@pc\"  # at home\n\
             jump = [\n  \"gate\",\n]\n",
            "",
        );
        assert_eq!(text, left);
        assert!(text.contains("# the fast one") && text.contains("# the end"));
    }

    #[test]
    fn every_way_to_write_a_hive_can_be_edited() {
        let forms = [
            "hives = { pc = { address = \"pc\" }, b = { address = \"b\" } } # all\n[run]\n",
            "[hives]\n# one\npc = { address = \"pc\" }\n# two\nb.address = \"b\"\n[run]\n",
            "hives.pc.address = \"pc\"\nhives.pc.jump = []\nhives.b.address = \"b\"\n# x\n",
            "hives.pc = { address = \"pc\" }\nhives.b = { address = \"b\" }\n",
            "[hives.pc]\naddress = \"pc\"\n[run]\n[hives.b]\naddress = \"b\"",
            "[ hives . 'pc' ]\r\naddress = \"pc\"\r\n[hives.b]\r\naddress = \"b\"\r\n",
        ];
        let hives = |text: &str| {
            let config: crate::config::Config = toml::from_str(text).expect(text);
            config.hives.keys().map(ToString::to_string).collect::<Vec<_>>()
        };
        for form in forms {
            let comments = |text: &str| text.matches('#').count();
            let more = with(form, &name("c"), &hive("c")).unwrap();
            assert_eq!(hives(&more), ["b", "c", "pc"], "{more}");
            assert_eq!(comments(&more), comments(form), "{more}");
            let fewer = without(&more, &name("pc")).unwrap();
            assert_eq!(hives(&fewer), ["b", "c"], "{fewer}");
            assert_eq!(comments(&fewer), comments(form), "{fewer}");
            assert_eq!(hives(&without(&fewer, &name("b")).unwrap()), ["c"]);
        }
    }

    #[test]
    fn adding_and_removing_gives_the_text_back() {
        for text in ["", "a = 1\n", COMMENTED, "[run]\n\n# end\n"] {
            let more = with(text, &name("new"), &hive("new")).unwrap();
            let back = without(&more, &name("new")).unwrap();
            assert_eq!(back.trim_end(), text.trim_end());
        }
    }
}
