//! What `up` prints when serving begins.

use super::directory::RunDirectory;
use super::models::Model;

pub struct Greeting {
    /// Said when the proxy serves.
    pub begin: String,
    /// Said once the first worker is ready, or at once where none is waited for.
    pub text: String,
    pub waits: bool,
}

impl Greeting {
    pub fn new(models: &[Model], directory: &RunDirectory) -> Greeting {
        let (loaded, later): (Vec<&Model>, Vec<&Model>) =
            models.iter().partition(|model| model.file.fleet.min > 0);
        let begin = match loaded.is_empty() {
            true => "a worker starts with the first request".to_owned(),
            false => format!("loading {}", names(&loaded)),
        };
        Greeting {
            begin,
            text: text(models, &later, directory),
            waits: !loaded.is_empty(),
        }
    }
}

fn names(models: &[&Model]) -> String {
    let names: Vec<&str> = models.iter().map(|model| &*model.name).collect();
    names.join(", ")
}

fn text(models: &[Model], later: &[&Model], directory: &RunDirectory) -> String {
    let Some(first) = models.first() else {
        return String::new();
    };
    let (listen, admin) = (first.rules.listen, first.rules.admin);
    let (own, model) = (first.file.scaler.listen, &first.name);
    let tries: Vec<String> = models.iter().map(one_to_try).collect();
    let tries = tries.join("\n\n");
    let logs = directory.path().display();
    let token = directory.operator_tokens();
    let token = token.display();
    let served = match models {
        [_] => format!("{model} is served on http://{listen}."),
        several => {
            let all: Vec<&Model> = several.iter().collect();
            format!("{} are served on http://{listen}.", names(&all))
        }
    };
    let later: String = (later.iter())
        .map(|model| format!("{} starts a worker with its first request.\n", model.name))
        .collect();
    format!(
        "
{served} Try:

{tries}

{later}Status page: http://{own}/ (operator token: {token})
Metrics: http://{admin}/metrics (proxy), http://{own}/metrics (scaler). Logs: {logs}
From here on, one line for each scaling decision. Ctrl-C stops.
"
    )
}

/// A line that shows what a model does.
fn one_to_try(model: &Model) -> String {
    let (listen, name) = (model.rules.listen, &model.name);
    let (path, options, asked) = match model.process.model.ends_with(".gguf") {
        true => (
            "chat/completions",
            "--no-buffer ",
            r#""messages": [{"role": "user", "content": "Why are there tides?"}], "max_tokens": 100, "temperature": 0.3, "stream": true"#,
        ),
        false => ("embeddings", "", r#""input": "High tide at noon""#),
    };
    format!(
        "  curl {options}http://{listen}/v1/{path} -H 'content-type: application/json' -d '{{\"model\": \"{name}\", {asked}}}'"
    )
}
