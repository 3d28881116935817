//! Chat templates: a conversation as the text that a model was trained to go on from.
//!
//! A template is a Jinja program that came with a model's file. It gets the messages and nothing
//! else of this machine; steps, depth and output are bounded.

mod dates;
mod json;

use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, Value};
use serde::Serialize;
use thiserror::Error;

/// The most steps of one rendering. A conversation of a thousand messages takes some 100,000.
const FUEL: u64 = 4_000_000;

/// The longest text that a rendering may give.
const MAX_BYTES: usize = 16 << 20;

/// The longest template that is read.
const MAX_SOURCE_BYTES: usize = 1 << 20;

/// How deep macros and includes may call each other.
const MAX_DEPTH: usize = 64;

const NAME: &str = "chat";

/// JSON whose keys stay in their order: models were trained on tools as they were written.
pub type TemplateValue = Value;

/// A template that was parsed.
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// Whether it shows tools by itself.
    tools: bool,
    begin: String,
    end: String,
}

/// What a rendering is about.
#[derive(Debug, Serialize)]
pub struct Conversation<'a> {
    pub messages: &'a [serde_json::Value],
    /// None where no tools are offered: templates ask for that.
    pub tools: Option<&'a [TemplateValue]>,
    /// Whether the text ends where the model's answer begins.
    pub add_generation_prompt: bool,
    /// Further variables, such as `enable_thinking`.
    #[serde(flatten)]
    pub variables: &'a serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum TemplateError {
    #[error("the chat template cannot be used: {0}")]
    Invalid(String),
    /// The template itself refuses the conversation.
    #[error("the model's chat template refuses this conversation: {0}")]
    Refused(String),
    #[error("the chat template failed: {0}")]
    Failed(String),
}

impl ChatTemplate {
    /// Parses a template. `begin` and `end` are the texts of the tokens of beginning and end.
    pub fn parse(source: &str, begin: &str, end: &str) -> Result<ChatTemplate, TemplateError> {
        if source.len() > MAX_SOURCE_BYTES {
            let problem = format!(
                "it has {} bytes; at most {MAX_SOURCE_BYTES} are read",
                source.len()
            );
            return Err(TemplateError::Invalid(problem));
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        let syntax = syntax.map_err(|error| TemplateError::Invalid(error.to_string()))?;
        environment.set_syntax(syntax);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_recursion_limit(MAX_DEPTH);
        environment.set_fuel(Some(FUEL));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", json::filter);
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<Value, Error> {
                Err(Error::new(ErrorKind::InvalidOperation, message).with_source(Raised))
            },
        );
        let added = environment.add_template_owned(NAME, source.to_owned());
        added.map_err(|error| TemplateError::Invalid(reason(&error)))?;
        Ok(ChatTemplate {
            environment,
            tools: source.contains("tools"),
            begin: begin.to_owned(),
            end: end.to_owned(),
        })
    }

    /// Whether the template shows tools to the model. Where it does not, whoever asks must.
    pub fn shows_tools(&self) -> bool {
        self.tools
    }

    /// Whether these letters stand in the template.
    pub fn writes(&self, letters: &str) -> bool {
        let template = self.environment.get_template(NAME);
        template.is_ok_and(|template| template.source().contains(letters))
    }

    /// The conversation as text. `now` is the time in seconds since 1970, for templates that tell
    /// the model the date.
    pub fn render(&self, conversation: &Conversation, now: u64) -> Result<String, TemplateError> {
        let template = self.environment.get_template(NAME);
        let template = template.map_err(|error| TemplateError::Failed(reason(&error)))?;
        let given = Value::from(Serde(conversation));
        let strftime_now = Value::from_function(move |format: String| dates::format(&format, now));
        let context = minijinja::context! {
            bos_token => self.begin.clone(),
            eos_token => self.end.clone(),
            strftime_now => strftime_now,
            ..given
        };
        let mut output = Bounded::default();
        let rendered = template.render_captured_to(context, &mut output);
        rendered.map_err(|error| failure(&error))?;
        String::from_utf8(output.0).map_err(|error| TemplateError::Failed(error.to_string()))
    }
}

/// Marks an error that the template raised by itself.
#[derive(Debug, Error)]
#[error("raised")]
struct Raised;

fn failure(error: &Error) -> TemplateError {
    let raised = std::error::Error::source(error).is_some_and(|source| source.is::<Raised>());
    match raised {
        true => TemplateError::Refused(error.detail().unwrap_or_default().to_owned()),
        false => TemplateError::Failed(reason(error)),
    }
}

/// What went wrong, and in which line of the template.
fn reason(error: &Error) -> String {
    match (error.kind(), error.line()) {
        (ErrorKind::OutOfFuel, _) => format!("it took more than {FUEL} steps"),
        (_, Some(line)) => format!("line {line}: {error}"),
        (_, None) => error.to_string(),
    }
}

/// Takes at most [`MAX_BYTES`].
#[derive(Default)]
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_BYTES {
            let problem = format!("its text would have more than {MAX_BYTES} bytes");
            return Err(io::Error::other(problem));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
