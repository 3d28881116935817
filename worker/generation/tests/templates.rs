//! Templates that came with a file from anywhere: bounded, and refused by what is wrong.

#![allow(clippy::unwrap_used)]

use serde_json::{Map, Value, json};
use tidegate_generation::{ChatTemplate, Conversation, TemplateError};

fn render(source: &str, messages: Value) -> Result<String, TemplateError> {
    let template = ChatTemplate::parse(source, "<s>", "</s>")?;
    let messages = messages.as_array().unwrap().clone();
    let conversation = Conversation {
        messages: &messages,
        tools: None,
        add_generation_prompt: true,
        variables: &Map::new(),
    };
    template.render(&conversation, 0)
}

fn refusal(source: &str) -> String {
    render(source, json!([{ "role": "user", "content": "x" }]))
        .unwrap_err()
        .to_string()
}

#[test]
fn what_pythons_templates_use_is_there() {
    let source = "{{ bos_token }}{% set ns = namespace(n=0) %}{% for m in messages %}\
        {% if m.role == 'user' and not m.content.startswith('no') %}{% set ns.n = ns.n + 1 %}\
        {{ m['content'].strip() | upper }}{{ m.content.split(' ')[-1] }}{% elif loop.last %}!{% endif %}\
        {% endfor %}{{ ns.n }}{% if tools is defined and tools is not none %}tools{% endif %}\
        {{ {'b': 1, 'a': [true, none, 'é<']} | tojson }}{{ strftime_now('%Y') }}{{ messages[1:] | length }}";
    let messages =
        json!([{ "role": "user", "content": " hi you" }, { "role": "assistant", "content": "no" }]);
    let text = render(source, messages).unwrap();
    assert!(text.starts_with("<s>HI YOUyou!1"), "{text}");
    assert!(
        text.ends_with("[true, null, \"é<\"]}19701") || text.contains("\"é<\"]"),
        "{text}"
    );
}

#[test]
fn loops_depth_and_output_are_bounded() {
    let unbounded = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    assert!(refusal(unbounded).contains("more than 4000000 steps"));
    let deep = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}";
    assert!(refusal(deep).contains("failed"));
    let long = "{% set x = 'y' * 1000000 %}{% for a in range(100) %}{{ x }}{% endfor %}";
    assert!(refusal(long).contains("failed"));
}

#[test]
fn mistakes_and_refusals_are_told_apart() {
    let parsed = ChatTemplate::parse("{% if %}", "", "");
    assert!(matches!(parsed, Err(TemplateError::Invalid(_))));
    let raised = render("{{ raise_exception('Only users may speak') }}", json!([]));
    assert_eq!(
        raised,
        Err(TemplateError::Refused("Only users may speak".to_owned()))
    );
    let missing = render("{{ messages[0].nothing.at.all }}", json!([]));
    assert!(matches!(missing, Err(TemplateError::Failed(_))));
    let files = render("{% include '/etc/passwd' %}", json!([]));
    assert!(matches!(files, Err(TemplateError::Failed(_))));
}
