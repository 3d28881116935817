//! A container engine in memory, which answers at a socket as a real one does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixListener;

use crate::stage::lock;

/// When the engine made whatever it made.
pub const CREATED_S: u64 = 1_000;

#[derive(Default)]
pub struct Shelf {
    /// By engine id.
    pub containers: BTreeMap<String, Container>,
    /// What was sent to whom.
    pub signals: Vec<(String, String)>,
    made: u32,
    /// Why no container can be started.
    pub refuses_starts: Option<&'static str>,
    /// It takes requests and answers none.
    pub hangs: bool,
}

pub struct Container {
    pub name: String,
    pub body: Value,
    pub state: &'static str,
    pub exit_code: i64,
}

#[derive(Clone)]
pub struct FakeEngine {
    shelf: Arc<Mutex<Shelf>>,
    pub socket: PathBuf,
    _directory: Arc<TempDir>,
}

type Answer = (StatusCode, Json<Value>);

impl FakeEngine {
    pub fn start() -> FakeEngine {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let socket = directory.path().join("engine.sock");
        let shelf = Arc::new(Mutex::new(Shelf::default()));
        let routes = Router::new()
            .route("/version", get(version))
            .route("/containers/json", get(list))
            .route("/containers/create", post(create))
            .route("/containers/{id}/start", post(start))
            .route("/containers/{id}/kill", post(kill))
            .route("/containers/{id}/json", get(inspect))
            .route("/containers/{id}/logs", get(async || StatusCode::OK))
            .route("/containers/{id}", delete(remove))
            .with_state(Arc::clone(&shelf));
        let listener = UnixListener::bind(&socket).expect("a socket");
        tokio::spawn(async move { axum::serve(listener, routes).await });
        FakeEngine {
            shelf,
            socket,
            _directory: Arc::new(directory),
        }
    }

    pub fn shelf(&self) -> MutexGuard<'_, Shelf> {
        lock(&self.shelf)
    }

    /// A container that is not of the fleet, or was not made by it.
    pub fn put(&self, name: &str, labels: Value) {
        let body = json!({"Labels": labels});
        self.shelf().put(name.to_owned(), body, "running");
    }

    pub fn end(&self, name: &str, exit_code: i64) {
        let mut shelf = self.shelf();
        let mut all = shelf.containers.values_mut();
        let container = all.find(|container| container.name == name);
        let container = container.expect("the engine has it");
        (container.state, container.exit_code) = ("exited", exit_code);
    }
}

impl Shelf {
    fn put(&mut self, name: String, body: Value, state: &'static str) -> String {
        self.made += 1;
        let id = format!("{:012x}", self.made);
        let container = Container {
            name,
            body,
            state,
            exit_code: 0,
        };
        self.containers.insert(id.clone(), container);
        id
    }
}

/// A parameter of a request.
fn asked(uri: &Uri, name: &str) -> String {
    let url = format!("http://engine{uri}");
    let url = reqwest::Url::parse(&url).expect("a request has a path");
    let mut pairs = url.query_pairs();
    let found = pairs.find(|(key, _)| key == name);
    found.expect("it has this parameter").1.into_owned()
}

async fn version(State(shelf): State<Arc<Mutex<Shelf>>>) -> Answer {
    if lock(&shelf).hangs {
        std::future::pending::<()>().await;
    }
    (StatusCode::OK, Json(json!({"ApiVersion": "1.41"})))
}

async fn list(State(shelf): State<Arc<Mutex<Shelf>>>, uri: Uri) -> Answer {
    if lock(&shelf).hangs {
        std::future::pending::<()>().await;
    }
    let filters: Value = serde_json::from_str(&asked(&uri, "filters")).expect("filters are JSON");
    let label = filters["label"][0]
        .as_str()
        .expect("one label is asked for");
    let (key, value) = label.split_once('=').expect("a label has a value");
    let shelf = lock(&shelf);
    let all = shelf.containers.iter();
    let own = all.filter(|(_, container)| container.body["Labels"][key] == value);
    let listed = own.map(|(id, container)| {
        json!({
            "Id": id,
            "Names": [format!("/{}", container.name)],
            "Created": CREATED_S,
            "State": container.state,
        })
    });
    (StatusCode::OK, Json(listed.collect()))
}

async fn create(
    State(shelf): State<Arc<Mutex<Shelf>>>,
    uri: Uri,
    Json(body): Json<Value>,
) -> Answer {
    let id = lock(&shelf).put(asked(&uri, "name"), body, "created");
    let made = json!({"Id": id, "Warnings": []});
    (StatusCode::CREATED, Json(made))
}

async fn start(State(shelf): State<Arc<Mutex<Shelf>>>, Path(id): Path<String>) -> Answer {
    let mut shelf = lock(&shelf);
    if let Some(why) = shelf.refuses_starts {
        return (StatusCode::NOT_FOUND, Json(json!({"message": why})));
    }
    let container = shelf.containers.get_mut(&id).expect("it was made");
    container.state = "running";
    (StatusCode::NO_CONTENT, Json(Value::Null))
}

async fn kill(State(shelf): State<Arc<Mutex<Shelf>>>, Path(id): Path<String>, uri: Uri) -> Answer {
    let mut shelf = lock(&shelf);
    let name = shelf.containers[&id].name.clone();
    shelf.signals.push((name, asked(&uri, "signal")));
    (StatusCode::NO_CONTENT, Json(Value::Null))
}

async fn inspect(State(shelf): State<Arc<Mutex<Shelf>>>, Path(id): Path<String>) -> Answer {
    let exit_code = lock(&shelf).containers[&id].exit_code;
    let state = json!({"Id": id, "State": {"ExitCode": exit_code, "Error": ""}});
    (StatusCode::OK, Json(state))
}

async fn remove(State(shelf): State<Arc<Mutex<Shelf>>>, Path(id): Path<String>) -> Answer {
    lock(&shelf).containers.remove(&id);
    (StatusCode::NO_CONTENT, Json(Value::Null))
}
