//! Tools: how they are shown to a model, and what form its answer must have.
//!
//! Models write a call as JSON with a name and arguments, bare or between `<tool_call>` marks, as
//! the models of Hermes and Qwen do. A model whose chat template knows the marks, or has no way of
//! its own to show tools, is held to them.

use serde_json::{Value, json};
use tidegate_generation::{
    self as forms, Besides, Calls, ChatTemplate, Function, Marks, Schema, TemplateValue,
};

use super::calls::{CLOSE, CallReader, OPEN};
use super::{Form, shown};
use crate::api::error::{ApiError, Fault};

const MARKS: Marks = Marks {
    open: OPEN,
    close: CLOSE,
};

/// The most tools of one request.
const MAX_TOOLS: usize = 128;

/// The longest name of a function.
const MAX_NAME: usize = 128;

const FIELD: &str = "tools";

/// What a request offers.
#[derive(Debug, Default)]
pub struct Tools {
    /// As they were sent.
    pub shown: Vec<TemplateValue>,
    offered: Vec<Offered>,
    choice: Choice,
    /// Whether there may be more calls than one.
    several: bool,
    /// Whether calls stand between marks.
    marked: bool,
}

/// A function that is offered.
#[derive(Debug)]
struct Offered {
    name: String,
    /// As it was sent.
    function: Value,
    parameters: Schema,
}

/// What a model may do with tools.
#[derive(Debug, Default, PartialEq, Eq)]
enum Choice {
    /// It must not call any.
    None,
    #[default]
    Auto,
    /// It must call one of them.
    Required,
    /// It must call this one.
    Named(String),
}

impl Tools {
    /// Reads what a request offers; `template` is that of the model.
    pub fn read(
        tools: Option<Vec<TemplateValue>>,
        choice: Option<Value>,
        several: Option<bool>,
        template: Option<&ChatTemplate>,
    ) -> Result<Tools, ApiError> {
        let shown = tools.unwrap_or_default();
        if shown.len() > MAX_TOOLS {
            let message = format!("{} tools; at most {MAX_TOOLS} are taken", shown.len());
            return Err(ApiError::param(Fault::Invalid, FIELD, message));
        }
        let offered: Result<Vec<Offered>, String> = (shown.iter().enumerate())
            .map(|(index, tool)| Offered::read(index, json!(tool)))
            .collect();
        let offered = offered.map_err(|message| ApiError::param(Fault::Invalid, FIELD, message))?;
        let choice = Choice::read(choice.as_ref(), &offered);
        let choice =
            choice.map_err(|message| ApiError::param(Fault::Invalid, "tool_choice", message))?;
        let own_way = template.filter(|template| template.shows_tools());
        Ok(Tools {
            marked: own_way.is_none_or(|template| template.writes(OPEN)),
            several: several != Some(false),
            shown,
            offered,
            choice,
        })
    }

    /// What reads the calls out of an answer; none where it must not call.
    pub fn reader(&self) -> Option<CallReader> {
        let names = || self.offered.iter().map(|offered| offered.name.clone());
        self.may_call().then(|| CallReader::new(names().collect()))
    }

    /// Whether the model may call any.
    pub fn may_call(&self) -> bool {
        !self.offered.is_empty() && self.choice != Choice::None
    }

    /// What form an answer must have that may call, which is JSON of `format` if it does not.
    pub fn form(&self, format: Option<&Form>) -> Option<Form> {
        if !self.may_call() {
            return None;
        }
        let wanted = |offered: &&Offered| match &self.choice {
            Choice::Named(wanted) => offered.name == *wanted,
            Choice::None | Choice::Auto | Choice::Required => true,
        };
        let function = |offered: &Offered| Function {
            name: offered.name.clone(),
            parameters: offered.parameters.clone(),
        };
        let besides = match (&self.choice, format.map(|format| &format.form)) {
            (Choice::Auto, Some(forms::Form::Json(schema))) => Besides::Json(schema.clone()),
            (Choice::Auto, _) => Besides::Text,
            _ => Besides::Nothing,
        };
        // A bare call cannot be distinguished from text before it has begun.
        let enforced = besides != Besides::Text || self.marked;
        let calls = Calls {
            functions: self.offered.iter().filter(wanted).map(function).collect(),
            marks: (self.marked || besides != Besides::Nothing).then_some(MARKS),
            several: self.several && !matches!(self.choice, Choice::Named(_)),
            besides,
        };
        Some(Form {
            form: forms::Form::Calls(calls),
            field: FIELD,
            enforced,
        })
    }

    /// The text about tools for a model whose chat template shows none.
    pub fn described(&self) -> String {
        let tools: Vec<String> = (self.offered.iter())
            .map(|offered| offered.function.to_string())
            .collect();
        format!(
            "You may call functions. They are, in JSON:\n{}\nTo call one, answer with nothing but {OPEN}{{\"name\": NAME, \"arguments\": OBJECT}}{CLOSE}",
            tools.join("\n")
        )
    }
}

impl Offered {
    fn read(index: usize, mut tool: Value) -> Result<Offered, String> {
        if tool["type"] != "function" {
            return Err(format!(
                "tools[{index}].type is {}; only \"function\" is supported",
                shown(&tool["type"])
            ));
        }
        let function = tool["function"].take();
        let Some(name) = function["name"].as_str() else {
            return Err(format!("tools[{index}].function.name is missing"));
        };
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(format!(
                "tools[{index}].function.name has {} bytes; expected 1 to {MAX_NAME}",
                name.len()
            ));
        }
        let schema = match &function["parameters"] {
            Value::Null => json!({ "type": "object", "properties": {} }),
            schema @ Value::Object(_) => schema.clone(),
            other => {
                return Err(format!(
                    "tools[{index}].function.parameters is {}; expected an object",
                    shown(other)
                ));
            }
        };
        Ok(Offered {
            name: name.to_owned(),
            parameters: Schema {
                schema,
                // Clients send whatever their language's types become: what cannot be held is
                // left out, unless they ask for all of it.
                strict: function["strict"] == true,
            },
            function,
        })
    }
}

impl Choice {
    fn read(choice: Option<&Value>, offered: &[Offered]) -> Result<Choice, String> {
        let choice = match choice {
            None | Some(Value::Null) => Choice::Auto,
            Some(Value::String(word)) => match &word[..] {
                "none" => Choice::None,
                "auto" => Choice::Auto,
                "required" => Choice::Required,
                other => {
                    return Err(format!(
                        "tool_choice is {:?}; expected none, auto, required or a function",
                        other.chars().take(80).collect::<String>()
                    ));
                }
            },
            Some(object) => match object["function"]["name"].as_str() {
                Some(wanted) if offered.iter().any(|offered| offered.name == wanted) => {
                    Choice::Named(wanted.to_owned())
                }
                _ => return Err("tool_choice names no function of tools".to_owned()),
            },
        };
        match offered.is_empty() && choice == Choice::Required {
            true => Err("tool_choice needs tools".to_owned()),
            false => Ok(choice),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOLS: &str = r#"[{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},
        {"type": "function", "function": {"name": "sub"}}]"#;

    fn tools(choice: Value) -> Tools {
        let tools = serde_json::from_str(TOOLS).expect("JSON");
        Tools::read(Some(tools), Some(choice), None, None).expect("valid")
    }

    fn calls(tools: &Tools) -> Calls {
        match tools.form(None).expect("a form").form {
            forms::Form::Calls(calls) => calls,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_choice_becomes_a_form() {
        assert!(tools(json!("none")).form(None).is_none());
        let auto = calls(&tools(json!("auto")));
        assert_eq!((auto.besides, auto.functions.len()), (Besides::Text, 2));
        let required = calls(&tools(json!("required")));
        assert_eq!(required.besides, Besides::Nothing);
        assert!(required.several);
        let named = json!({ "type": "function", "function": { "name": "sub" } });
        let named = calls(&tools(named));
        assert_eq!(
            (&named.functions[0].name[..], named.several),
            ("sub", false)
        );
        let missing = json!({ "type": "function", "function": { "name": "mul" } });
        assert!(Tools::read(None, Some(missing), None, None).is_err());
    }

    #[test]
    fn a_template_without_marks_has_bare_calls() {
        let template = ChatTemplate::parse("{{ tools }}", "", "").expect("a template");
        let read = |choice| {
            let tools = serde_json::from_str(TOOLS).expect("JSON");
            Tools::read(Some(tools), Some(choice), None, Some(&template)).expect("valid")
        };
        let may = read(json!("auto")).form(None);
        assert!(may.is_some_and(|form| !form.enforced));
        assert_eq!(calls(&read(json!("required"))).marks, None);
    }

    #[test]
    fn a_tool_that_is_none_is_named() {
        for (tool, problem) in [
            (r#"[{"type": "web"}]"#, "tools[0].type is \"web\""),
            (r#"[{"type": "function"}]"#, "tools[0].function.name"),
            (
                r#"[{"type": "function", "function": {"name": "a", "parameters": 1}}]"#,
                "tools[0].function.parameters is 1",
            ),
        ] {
            let tools = serde_json::from_str(tool).expect("JSON");
            let error = Tools::read(Some(tools), None, None, None).expect_err(tool);
            assert!(error.message.contains(problem), "{}", error.message);
            assert_eq!(error.param, Some("tools"));
        }
    }
}
