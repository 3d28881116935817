//! Calls to a container engine over its local socket, and its answers.
//!
//! No call has a timeout of its own: the caller sets one for all its calls.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, ListContainersOptionsBuilder,
    LogsOptionsBuilder, RemoveContainerOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::StreamExt;
use tidegate_control::Time;

use super::body::FLEET_LABEL;

/// The client's own limit, in seconds; longer than any that a policy may set.
const CLIENT_LIMIT_S: u64 = 60;

/// How much of a log's end is shown, and of each line.
const TAIL_LINES: usize = 3;
const LINE_BYTES: usize = 500;

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("the container engine cannot be reached at {}: {cause}", socket.display())]
    Away { socket: PathBuf, cause: Error },
    #[error("the container engine has not answered within {limit:?}")]
    Late { limit: Duration },
    #[error("the container engine cannot {what}: {cause}")]
    Refused { what: &'static str, cause: Error },
}

/// The engine at a socket, reached when it is first needed.
pub(super) struct Engine {
    socket: PathBuf,
    connection: Option<Connection>,
}

/// A connection whose both ends speak one version of the API.
#[derive(Clone)]
pub(super) struct Connection(Docker);

/// A container of the fleet.
pub(super) struct Container {
    pub engine_id: String,
    pub name: String,
    pub created: Time,
    pub state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It was not started yet.
    Made,
    Runs,
    Ended,
}

/// How a container ended.
pub(super) struct Exit {
    code: Option<i64>,
    out_of_memory: bool,
    /// Why it never ran, in the engine's words.
    error: String,
    pub last_lines: Vec<String>,
}

impl Engine {
    pub fn new(socket: PathBuf) -> Engine {
        Engine {
            socket,
            connection: None,
        }
    }

    pub async fn connect(&mut self) -> Result<Connection, EngineError> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let away = |cause| EngineError::Away {
            socket: self.socket.clone(),
            cause,
        };
        let path = self.socket.to_string_lossy();
        let docker = Docker::connect_with_unix(&path, CLIENT_LIMIT_S, API_DEFAULT_VERSION);
        let docker = docker.map_err(away)?;
        let connection = Connection(docker.negotiate_version().await.map_err(away)?);
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    pub fn hang_up(&mut self) {
        self.connection = None;
    }
}

impl Connection {
    /// All containers of a fleet, in whatever state.
    pub async fn list(&self, fleet: &str) -> Result<Vec<Container>, EngineError> {
        let label = vec![format!("{FLEET_LABEL}={fleet}")];
        let filters = HashMap::from([("label", label)]);
        let options = ListContainersOptionsBuilder::new().all(true);
        let options = options.filters(&filters).build();
        let listed = self.0.list_containers(Some(options)).await;
        let listed = listed.map_err(refused("list containers"))?;
        Ok(listed.into_iter().filter_map(Container::of).collect())
    }

    /// Makes a container and starts it; what cannot be started is removed again.
    pub async fn start(
        &self,
        name: &str,
        body: ContainerCreateBody,
    ) -> Result<String, EngineError> {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let made = self.0.create_container(Some(options), body).await;
        let engine_id = made.map_err(refused("make a container"))?.id;
        let started = self.0.start_container(&engine_id, None).await;
        if let Err(cause) = started {
            self.remove(&engine_id).await?;
            return Err(refused("start a container")(cause));
        }
        Ok(engine_id)
    }

    /// One that has ended meanwhile needs no signal.
    pub async fn signal(&self, engine_id: &str, signal: &str) -> Result<(), EngineError> {
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        let sent = self.0.kill_container(engine_id, Some(options)).await;
        done_or_gone(sent, "send a signal")
    }

    /// Removes what is left of a container.
    pub async fn remove(&self, engine_id: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true);
        let removed = self.0.remove_container(engine_id, Some(options.build()));
        done_or_gone(removed.await, "remove a container")
    }

    pub async fn exit(&self, engine_id: &str) -> Result<Exit, EngineError> {
        let inspected = self.0.inspect_container(engine_id, None).await;
        let state = inspected.map_err(refused("say how a container ended"))?;
        let state = state.state.unwrap_or_default();
        Ok(Exit {
            code: state.exit_code,
            out_of_memory: state.oom_killed == Some(true),
            error: state.error.unwrap_or_default(),
            last_lines: self.last_lines(engine_id).await,
        })
    }

    /// The end of a container's log; a log that cannot be read has none.
    async fn last_lines(&self, engine_id: &str) -> Vec<String> {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true);
        let options = options.tail(&TAIL_LINES.to_string()).build();
        let pieces = self.0.logs(engine_id, Some(options)).take(TAIL_LINES);
        let lines = pieces.filter_map(async |piece| {
            let line = piece.ok()?.to_string();
            Some(shortened(line.trim()))
        });
        lines.collect().await
    }
}

impl Container {
    /// One that the engine is removing is no more.
    fn of(summary: ContainerSummary) -> Option<Container> {
        let state = match summary.state? {
            ContainerSummaryStateEnum::CREATED => State::Made,
            ContainerSummaryStateEnum::EXITED | ContainerSummaryStateEnum::DEAD => State::Ended,
            ContainerSummaryStateEnum::REMOVING => return None,
            _ => State::Runs,
        };
        let name = summary.names?.into_iter().next()?;
        let created = u64::try_from(summary.created?).ok()?;
        Some(Container {
            engine_id: summary.id?,
            name: name.trim_start_matches('/').to_owned(),
            created: Time::from_ms(created.saturating_mul(1000)),
            state,
        })
    }
}

impl Exit {
    pub fn is_well(&self) -> bool {
        self.code == Some(0) && self.error.is_empty()
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.error.as_str()) {
            _ if self.out_of_memory => f.write_str("it needed more than container.memory_bytes"),
            (Some(code), "") => write!(f, "exit code {code}"),
            (None, "") => f.write_str("it was never started"),
            (_, error) => f.write_str(error),
        }
    }
}

fn shortened(line: &str) -> String {
    let end = line.floor_char_boundary(LINE_BYTES);
    line[..end].to_owned()
}

fn refused(what: &'static str) -> impl Fn(Error) -> EngineError {
    move |cause| EngineError::Refused { what, cause }
}

/// The engine does not know it any more (404), or it does not run (409).
fn done_or_gone(result: Result<(), Error>, what: &'static str) -> Result<(), EngineError> {
    match result {
        Err(Error::DockerResponseServerError {
            status_code: 404 | 409,
            ..
        }) => Ok(()),
        result => result.map_err(refused(what)),
    }
}
