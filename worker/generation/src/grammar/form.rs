//! The form that an answer must have, in llguidance's notation: JSON by a schema, or calls of
//! functions between marks, with text around them where that is allowed.

use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use serde::Serialize;
use serde_json::{Value, json};

use super::{GrammarError, bounds};

/// What an answer must look like.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Form {
    /// JSON that a schema allows.
    Json(Schema),
    /// What a regular expression matches as a whole.
    Pattern(String),
    /// Calls of functions, each as `{"name": NAME, "arguments": OBJECT}`.
    Calls(Calls),
}

/// A JSON schema.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Schema {
    pub schema: Value,
    /// Whether keywords that cannot be held are refused rather than left out.
    pub strict: bool,
}

/// Which functions an answer calls, and how.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calls {
    pub functions: Vec<Function>,
    /// What stands around each call; none where an answer is nothing but one call.
    pub marks: Option<Marks>,
    /// What the answer may be besides. Needs marks.
    pub besides: Besides,
    /// Whether there may be more calls than one.
    pub several: bool,
}

/// What an answer may be that need not call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Besides {
    Nothing,
    /// Text before, between, behind or instead of calls.
    Text,
    /// JSON instead of calls.
    Json(Schema),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Function {
    pub name: String,
    pub parameters: Schema,
}

/// What models write around a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Marks {
    pub open: &'static str,
    pub close: &'static str,
}

/// Space between the parts of JSON: as much as written JSON has, and not so much that a model can
/// go on with it for ever.
const SPACE: &str = r"[ \t]|\r?\n[ \t]{0,32}";

impl Schema {
    /// With what the library is told beside the schema; a caller's own such words are dropped.
    fn marked(&self) -> Value {
        match &self.schema {
            Value::Object(schema) => {
                let mut schema = schema.clone();
                let options = json!({ "whitespace_pattern": SPACE, "lenient": !self.strict });
                schema.insert("x-guidance".to_owned(), options);
                Value::Object(schema)
            }
            other => other.clone(),
        }
    }
}

impl Form {
    /// All schemas, each with the name of the function that it belongs to; none for that of the
    /// answer itself.
    pub fn schemas(&self) -> impl Iterator<Item = (Option<&str>, &Schema)> {
        let (own, functions) = match self {
            Form::Json(schema) => (Some(schema), &[][..]),
            Form::Pattern(_) => (None, &[][..]),
            Form::Calls(calls) => {
                let own = match &calls.besides {
                    Besides::Json(schema) => Some(schema),
                    Besides::Nothing | Besides::Text => None,
                };
                (own, &calls.functions[..])
            }
        };
        let of_functions = functions
            .iter()
            .map(|function| (Some(function.name.as_str()), &function.parameters));
        own.map(|schema| (None, schema))
            .into_iter()
            .chain(of_functions)
    }

    /// Whether its schemas, or its pattern, are within the bounds of what is read at all.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), GrammarError> {
        for (function, schema) in self.schemas() {
            bounds::check(&schema.schema).map_err(|problem| GrammarError::Schema {
                function: function.map(str::to_owned),
                problem,
            })?;
        }
        match self {
            Form::Pattern(pattern) => bounds::check_pattern(pattern).map_err(GrammarError::Pattern),
            Form::Json(_) | Form::Calls(_) => Ok(()),
        }
    }

    pub(super) fn grammar(&self) -> TopLevelGrammar {
        match self {
            Form::Json(schema) => TopLevelGrammar::from_json_schema(schema.marked()),
            Form::Pattern(pattern) => TopLevelGrammar::from_regex(pattern),
            Form::Calls(calls) => calls.grammar(),
        }
    }
}

impl Calls {
    fn grammar(&self) -> TopLevelGrammar {
        let mut grammar = TopLevelGrammar::from_lark(self.rules());
        let mut add = |name: String, schema: &Schema| {
            let mut part = GrammarWithLexer::from_json_schema(schema.marked());
            part.name = Some(name);
            grammar.grammars.push(part);
        };
        for (index, function) in self.functions.iter().enumerate() {
            add(parameters_rule(index), &function.parameters);
        }
        if let Besides::Json(schema) = &self.besides {
            add(ANSWER.to_owned(), schema);
        }
        grammar
    }

    /// The grammar around the schemas, in the dialect of Lark that llguidance reads; a text of JSON
    /// is a text of it.
    fn rules(&self) -> String {
        let call = self.functions.iter().enumerate().map(|(index, function)| {
            let head = format!("{{\"name\": {}, \"arguments\": ", json!(function.name));
            format!("{} @{} \"}}\"", json!(head), parameters_rule(index))
        });
        let call: Vec<String> = call.collect();
        let call = format!("call: {}", call.join("\n    | "));
        let Some(Marks { open, close }) = self.marks else {
            return format!("start: call\n{call}\n");
        };
        let opened = json!(format!("{open}\n"));
        let (open, closed, close) = (json!(open), json!(format!("\n{close}")), json!(close));
        let more = match self.several {
            true => "(\"\\n\" marked)*",
            false => "",
        };
        let repeat = if self.several { "*" } else { "?" };
        let marked = format!("marked: {opened} call {closed}\n{call}\n");
        match self.besides {
            Besides::Nothing => format!("start: marked {more}\n{marked}"),
            Besides::Json(_) => format!("start: marked {more} | @{ANSWER}\n{marked}"),
            // Text ends where the mark first stands in it; behind the last call it has none.
            Besides::Text => format!(
                "start: marked{repeat} TEXT\nmarked: opened NEWLINE call NEWLINE {close}\nopened[lazy]: TEXT {open}\nTEXT: /(.|\\n)*/\nNEWLINE: /\\n?/\n{call}\n"
            ),
        }
    }
}

const ANSWER: &str = "answer";

fn parameters_rule(index: usize) -> String {
    format!("parameters_{index}")
}
