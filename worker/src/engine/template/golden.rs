//! Our renderer and Hugging Face's on the same templates: `scripts/golden-templates` wrote what
//! theirs makes of them.

use std::path::PathBuf;

use serde::Deserialize;

use super::*;

/// A conversation's name, whether there are tools and a generation prompt, and the text; none where
/// the reference raises an error.
type Rendered = (String, bool, bool, Option<String>);

#[derive(Deserialize)]
struct Golden {
    templates: std::collections::BTreeMap<String, Vec<Rendered>>,
    expressions: Vec<(String, Option<String>)>,
}

#[derive(Deserialize)]
struct Given {
    conversations: std::collections::BTreeMap<String, Value>,
    tools: Value,
}

fn file(name: &str) -> String {
    let dir: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "tests/golden/templates", name].iter().collect();
    std::fs::read_to_string(dir).unwrap()
}

fn golden() -> Golden {
    serde_json::from_str(&file("golden.json")).unwrap()
}

#[test]
fn templates_render_to_the_letter_as_the_reference_renders_them() {
    let given: Given = serde_json::from_str(&file("conversations.json")).unwrap();
    let (mut wrong, mut texts) = (Vec::new(), 0);
    for (name, all) in golden().templates {
        let source = file(&format!("{name}.jinja"));
        for (conversation, has_tools, add_generation_prompt, expected) in all {
            let tools = if has_tools { given.tools.clone() } else { Value::from(()) };
            let messages = given.conversations[&conversation].clone();
            let inputs = Inputs { messages, tools, add_generation_prompt, now: tests::now() };
            let rendered = tests::rendered(&source, "<s>", "</s>", inputs).ok();
            texts += usize::from(expected.is_some());
            if rendered != expected {
                wrong.push((name.clone(), conversation, has_tools, expected, rendered));
            }
        }
    }
    assert!(texts > 100, "{texts} texts are not enough to show anything");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn expressions_are_what_they_are_in_the_reference() {
    let names: Value = serde_json::from_str(&file("names.json")).unwrap();
    let now = tests::now();
    let clock = context! {
        strftime_now => Value::from_function(move |format: &str| {
            date::format(now, format)
                .map_err(|why| Error::new(ErrorKind::InvalidOperation, why))
        }),
    };
    let context = minijinja::value::merge_maps([clock, names]);
    let all = golden().expressions;
    assert!(all.len() > 500, "{} expressions are not enough", all.len());
    let mut wrong = Vec::new();
    for (source, expected) in all {
        let mut environment = dialect::environment().unwrap();
        environment.add_filter(tags::STEP, |_: Value| ());
        let rendered = environment.render_str(&tags::rewrite(&source), context.clone()).ok();
        if rendered != expected {
            wrong.push((source, expected, rendered));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
