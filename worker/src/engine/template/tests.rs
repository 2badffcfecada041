//! Templates as the families write them (in words of our own), and templates that mean harm.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use wire::generate::{ChatRole, Message};

use super::super::conversation::Conversation;
use super::super::queue::Claim;
use super::super::testing::CHATML;
use super::*;

fn talk() -> Vec<Message> {
    vec![
        Message::new(ChatRole::System, "Be brief. "),
        Message::new(ChatRole::User, "Hi <b>& \"you\""),
        Message::new(ChatRole::Assistant, "<think>\nhm\n</think>\n\nHello"),
        Message::new(ChatRole::User, "Bye"),
    ]
}

fn inputs(messages: &[Message], now: SystemTime) -> Inputs {
    Conversation::new(messages, &[]).inputs(now)
}

/// 2024-02-29 12:34:56.
pub(super) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_709_210_096)
}

pub(super) fn rendered(
    source: &str,
    bos: &str,
    eos: &str,
    inputs: Inputs,
) -> Result<String, Fault> {
    let wanted = Arc::new(());
    Template::compile(source, bos, eos)?.render(inputs, &Claim::of(&wanted))
}

fn render(source: &str, messages: &[Message]) -> Result<String, Fault> {
    rendered(source, "<|bos|>", "<|eos|>", inputs(messages, now()))
}

#[test]
fn chatml_is_rendered_to_the_letter() {
    assert_eq!(
        render(CHATML, &talk()[..2]).unwrap(),
        "<|im_start|>system\nBe brief. <|im_end|>\n<|im_start|>user\nHi <b>& \"you\"<|im_end|>\n\
         <|im_start|>assistant\n"
    );
}

#[test]
fn a_template_of_llama_3s_kind_is_rendered_to_the_letter() {
    let source = "{{- bos_token }}
{%- set today = strftime_now('%d %b %Y') %}
{%- if messages[0]['role'] == 'system' %}
    {%- set first = messages[0]['content'] | trim %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set first = '' %}
    {%- set rest = messages %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}
{{- 'Today: ' + today + '\\n' + first + '<|eot_id|>' }}
{%- for message in rest %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}";
    assert_eq!(
        render(source, &talk()[..2]).unwrap(),
        "<|bos|><|start_header_id|>system<|end_header_id|>\n\n\
         Today: 29 Feb 2024\nBe brief.<|eot_id|>\
         <|start_header_id|>user<|end_header_id|>\n\nHi <b>& \"you\"<|eot_id|>\
         <|start_header_id|>assistant<|end_header_id|>\n\n"
    );
}

#[test]
fn a_template_of_qwen_3s_kind_drops_old_reasoning_with_python_methods() {
    let source = "{%- set ns = namespace(last=messages|length - 1) %}
{%- for m in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if m.role == 'user' and m.content is string and not m.content.startswith('<tool>') %}
        {%- set ns.last = index %}
        {%- break %}
    {%- endif %}
{%- endfor %}
{%- for m in messages %}
    {%- set content = m.content if m.content is string else '' %}
    {%- if m.role == 'assistant' %}
        {%- if m.reasoning_content is defined %}{{- 'never' }}{%- endif %}
        {%- if '</think>' in content %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
    {%- endif %}
    {{- '<|im_start|>' + m.role + '\\n' + content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}";
    let rendered = render(source, &talk()).unwrap();
    assert!(rendered.contains("<|im_start|>assistant\nHello<|im_end|>\n"), "{rendered}");
    assert!(rendered.ends_with("<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"));
}

#[test]
fn blocks_leave_no_blank_lines_and_generation_tags_change_nothing() {
    let source =
        "{% for m in messages %}\n  {% if true %}\n{{ m.role }}\n  {% endif %}\n{% endfor %}\n";
    assert_eq!(render(source, &talk()[..2]).unwrap(), "system\nuser\n");
    let tagged =
        "a {%- generation -%} b {% endgeneration %} {%generation%}c{%+ endgeneration -%} d";
    assert_eq!(render(tagged, &[]).unwrap(), "ab  cd");
}

#[test]
fn tojson_writes_what_pythons_json_dumps_writes() {
    let json = |expression: &str| render(&format!("{{{{ {expression} }}}}"), &[]).unwrap();
    let value = "{'b': [1, 2.5, true, none], 'a': 'x<é\"\\n'}";
    assert_eq!(
        json(&format!("{value} | tojson")),
        r#"{"b": [1, 2.5, true, null], "a": "x<é\"\n"}"#
    );
    assert_eq!(
        json(&format!(
            "{value} | tojson(ensure_ascii=true, sort_keys=true, separators=(',', ':'))"
        )),
        r#"{"a":"x<\u00e9\"\n","b":[1,2.5,true,null]}"#
    );
    assert_eq!(
        json("{'a': [1, {}], 'b': []} | tojson(indent=2)"),
        "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}"
    );
}

#[test]
fn what_a_template_refuses_is_said_in_its_own_words() {
    let fault = render("{{ raise_exception('No\u{1b}[2J system role') }}", &talk()).unwrap_err();
    assert_eq!(fault.code, Code::TemplateFailed);
    assert!(fault.message.contains("system role") && !fault.message.contains('\u{1b}'));
    assert!(fault.hints[0].contains("--raw"), "{fault:?}");
}

#[test]
fn a_template_cannot_run_write_or_nest_without_end() {
    let harmful = [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
        "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
        "{% for a in range(999999999) %}{% endfor %}",
        "{{ unclosed",
        "{% include 'chat' %}",
        "{% import 'chat' as chat %}",
        "{% extends 'chat' %}",
        "{% set x = [] %}{{ x.append(1) }}",
        "{{ messages[0].update({'role': 'system'}) }}",
        "{{ 'x'.ljust(999999999999) }}",
        "{{ 'x'.zfill(999999999999) }}",
        "{{ messages.__class__.__mro__ }}",
        "{{ messages.nothing.at.all }}",
    ];
    for source in harmful {
        let fault = render(source, &talk()).unwrap_err();
        assert_eq!(fault.code, Code::TemplateFailed, "{source}: {fault:?}");
    }
    let long = "x".repeat(limits::MAX_TEMPLATE_BYTES + 1);
    assert_eq!(render(&long, &[]).unwrap_err().code, Code::TemplateFailed);
}

#[test]
fn no_step_makes_a_large_text_of_a_small_one() {
    let harmful = [
        "{{ ('x' * 9999999)|replace('x', 'y' * 9999999) }}",
        "{{ ('x' * 9999999).replace('', 'y' * 9999999) }}",
        "{{ ('y' * 9999999).join('x' * 9999999) }}",
        "{{ ('x' * 9999999)|list|join('y' * 9999999) }}",
        "{{ 'a\nb'|indent(99999999999) }}",
        "{{ 'a\nb'|indent(width=99999999999) }}",
        "{{ '%9999999999d'|format(1) }}",
        "{{ '%.9999999999f'|format(1) }}",
        "{{ '{:>9999999999}'.format(1) }}",
        "{{ [1]|batch(99999999999, 'x') }}",
        "{{ [1]|slice(99999999999)|list }}",
    ];
    for source in harmful {
        let fault = render(source, &talk()).unwrap_err();
        assert_eq!(fault.code, Code::TemplateFailed, "{source}: {fault:?}");
    }
}

/// Slices of empty lists by other steps than -1, and targets that are expressions, break minijinja
/// 3.0.5.
#[test]
fn a_template_that_breaks_the_engine_fails_alone() {
    let fault = render("{% import 'chat' as x % e %}", &talk()).unwrap_err();
    assert_eq!(fault.code, Code::TemplateFailed);
    let fault = render("{% for a in [][::-2] %}{% endfor %}", &talk()).unwrap_err();
    assert_eq!(fault.code, Code::TemplateFailed);
    assert_eq!(render("{% for a in [][::-1] %}{% endfor %}ok", &[]).unwrap(), "ok");
}

/// Each of these runs for hours: a step of it takes milliseconds, and it has fuel for a million.
#[test]
fn a_template_that_nobody_waits_for_ends_at_its_next_step() {
    let large = "{% set large = 'x' * 30000000 %}{% set other = 'x' * 30000000 %}";
    let slow = [
        "{% for a in range(99999) %}{% if large == other %}{% endif %}{% endfor %}",
        "{% macro f(n) %}{% if large == other %}{{ f(n + 1) }}{{ f(n + 1) }}{% endif %}\
         {% endmacro %}{{ f(0) }}",
        "{% for a in large %}{% set rbee_step = 1 %}{{ '' if large == other }}{% endfor %}",
    ];
    for source in slow {
        let source = format!("{large}{source}");
        let wanted = Arc::new(());
        let claim = Claim::of(&wanted);
        let rendering = std::thread::spawn(move || {
            let template = Template::compile(&source, "", "").unwrap();
            template.render(inputs(&talk(), UNIX_EPOCH), &claim).unwrap_err()
        });
        drop(wanted);
        let fault = rendering.join().unwrap();
        assert!(fault.message.contains("nobody waits"), "{fault:?}");
    }
}
