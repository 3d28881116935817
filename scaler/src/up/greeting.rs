//! What `up` says when serving begins.

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
    let logs = directory.path().display();
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

  curl http://{listen}/v1/embeddings -H 'content-type: application/json' -d '{{\"model\": \"{model}\", \"input\": \"High tide at noon\"}}'

{later}Metrics: http://{admin}/metrics (proxy), http://{own}/metrics (scaler). Logs: {logs}
From here on, one line for each scaling decision. Ctrl-C stops.
"
    )
}
