//! The fleet of a container engine: workers as containers on one network, found by their label.
//!
//! The engine holds the state: a restarted scaler finds its containers by their label and continues with
//! them, and a scaler that ends leaves them serving. The scaler touches only containers with the label,
//! by the engine's own id, so that another container with the same name is safe.

mod body;
mod engine;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tidegate_control::{Bounds, Member, Time};
use tokio::time::Instant;

pub use engine::EngineError;

use super::{Capabilities, Ended, Fleet, FleetError, FleetStatus, Limits};
use engine::{Connection, Container, Engine, State};
use tidegate_policy::ContainerRules;

/// A container that was made and not started within this many call timeouts never will be.
const START_TIMEOUTS: u32 = 3;

pub struct ContainerFleet {
    rules: ContainerRules,
    /// Admin URLs of the proxies that the workers heartbeat to.
    proxies: Vec<String>,
    engine: Engine,
    last_number: u32,
    /// As of the last status, and who was launched since, by name.
    known: BTreeMap<String, Known>,
    /// Workers that were stopped and have not ended.
    leaving: BTreeMap<String, Leaving>,
    /// Workers that an earlier run stopped, and when, until the first status.
    stopped_before: BTreeMap<String, Time>,
    /// Ends that no status has reported yet.
    ended: Vec<Ended>,
    /// Engine ids of ended containers that could not be removed yet, and have been reported.
    reported: BTreeSet<String>,
    /// Whether a status was taken: ends before the first are nobody's news.
    looked: bool,
}

struct Known {
    engine_id: String,
    launched: Time,
}

struct Leaving {
    kill_at: Instant,
    killed: bool,
}

impl ContainerFleet {
    /// Workers are named `PREFIX-N`, counting on from `last_number` or from the highest that the
    /// engine knows.
    pub fn new(rules: ContainerRules, proxies: Vec<String>, last_number: u32) -> ContainerFleet {
        ContainerFleet {
            engine: Engine::new(rules.socket.clone()),
            rules,
            proxies,
            last_number,
            known: BTreeMap::new(),
            leaving: BTreeMap::new(),
            stopped_before: BTreeMap::new(),
            ended: Vec::new(),
            reported: BTreeSet::new(),
            looked: false,
        }
    }

    /// Takes up the workers that an earlier run stopped, and when: they are killed when that is
    /// `stop_limit` ago, as if there had been no restart.
    pub fn recall(&mut self, stopped: &BTreeMap<String, Time>) {
        self.stopped_before.clone_from(stopped);
    }

    /// All containers of the fleet; those that have ended are reported once and removed.
    async fn look(&mut self, now: Time) -> Result<Vec<Member>, EngineError> {
        let connection = self.engine.connect().await?;
        let containers = connection.list(&self.rules.name_prefix).await?;
        self.count_on(&containers);
        let grace = *self.rules.timeout * START_TIMEOUTS;
        let is_over = |container: &Container| match container.state {
            State::Made => now.since(container.created) > grace,
            State::Runs => false,
            State::Ended => true,
        };
        let (over, members): (Vec<_>, Vec<_>) = containers.into_iter().partition(is_over);
        self.known = (members.into_iter())
            .map(|container| (container.name.clone(), Known::of(container)))
            .collect();
        self.take_up(now);
        self.clean_up(&connection, now, over).await?;
        self.looked = true;
        self.kill_overdue(&connection).await;
        let members = self.known.iter().map(|(id, known)| Member {
            id: id.clone(),
            launched: known.launched,
            leaving: self.leaving.contains_key(id),
        });
        Ok(members.collect())
    }

    fn take_up(&mut self, now: Time) {
        let stopped = std::mem::take(&mut self.stopped_before).into_iter();
        for (id, at) in stopped.filter(|(id, _)| self.known.contains_key(id)) {
            let left = self.rules.stop_limit.saturating_sub(now.since(at));
            let kill_at = Instant::now() + left;
            let killed = false;
            self.leaving.insert(id, Leaving { kill_at, killed });
        }
    }

    /// Numbers in use are not used again.
    fn count_on(&mut self, containers: &[Container]) {
        let number = |container: &Container| -> Option<u32> {
            let number = container.name.strip_prefix(&self.rules.name_prefix)?;
            number.strip_prefix('-')?.parse().ok()
        };
        let highest = containers.iter().filter_map(number).max();
        self.last_number = self.last_number.max(highest.unwrap_or(0));
    }

    /// Notes how containers ended, and removes them from the engine.
    async fn clean_up(
        &mut self,
        connection: &Connection,
        now: Time,
        over: Vec<Container>,
    ) -> Result<(), EngineError> {
        let there: BTreeSet<&String> = over.iter().map(|container| &container.engine_id).collect();
        self.reported.retain(|engine_id| there.contains(engine_id));
        for container in over {
            if self.looked && !self.reported.contains(&container.engine_id) {
                let ended = self.end(connection, now, &container).await?;
                self.ended.push(ended);
                self.reported.insert(container.engine_id.clone());
            }
            self.leaving.remove(&container.name);
            // What cannot be removed now is tried again by the next status.
            let _ = connection.remove(&container.engine_id).await;
            self.reported.insert(container.engine_id);
        }
        Ok(())
    }

    async fn end(
        &self,
        connection: &Connection,
        now: Time,
        container: &Container,
    ) -> Result<Ended, EngineError> {
        let exit = connection.exit(&container.engine_id).await?;
        let leaving = self.leaving.get(&container.name);
        Ok(Ended {
            id: container.name.clone(),
            after: now.since(container.created),
            // A worker ends well only when it is stopped, by hand or by an earlier run.
            asked: leaving.is_some() || exit.is_well(),
            killed_after: leaving.filter(|l| l.killed).map(|_| *self.rules.stop_limit),
            how: exit.to_string(),
            log: None,
            last_lines: exit.last_lines,
        })
    }

    /// Kills workers that were stopped too long ago and have not ended.
    async fn kill_overdue(&mut self, connection: &Connection) {
        self.leaving.retain(|id, _| self.known.contains_key(id));
        let now = Instant::now();
        for (id, leaving) in &mut self.leaving {
            if let Some(known) = self.known.get(id)
                && leaving.kill_at <= now
                && !leaving.killed
            {
                let sent = connection.signal(&known.engine_id, "SIGKILL").await;
                leaving.killed = sent.is_ok();
            }
        }
    }

    /// All at once, as each takes the engine half a second. Those that started although another
    /// failed are found by the next status.
    async fn launch(&mut self, now: Time, count: u32) -> Result<Vec<String>, EngineError> {
        let connection = self.engine.connect().await?;
        let first = self.last_number + 1;
        self.last_number += count;
        let starts = (first..first + count).map(async |number| {
            let id = format!("{}-{number}", self.rules.name_prefix);
            let body = body::body(&self.rules, &id, &self.proxies);
            let engine_id = connection.start(&id, body).await?;
            Ok::<_, EngineError>((id, engine_id))
        });
        let mut ids = Vec::new();
        for started in join_all(starts).await {
            let (id, engine_id) = started?;
            ids.push(id.clone());
            let launched = now;
            let known = Known {
                engine_id,
                launched,
            };
            self.known.insert(id, known);
        }
        Ok(ids)
    }

    async fn stop(&mut self, id: &str, engine_id: &str) -> Result<(), EngineError> {
        let connection = self.engine.connect().await?;
        connection.signal(engine_id, "SIGTERM").await?;
        let leaving = Leaving {
            kill_at: Instant::now() + *self.rules.stop_limit,
            killed: false,
        };
        self.leaving.insert(id.to_owned(), leaving);
        Ok(())
    }

    fn limit(&self) -> Duration {
        *self.rules.timeout
    }
}

impl Known {
    fn of(container: Container) -> Known {
        Known {
            engine_id: container.engine_id,
            launched: container.created,
        }
    }
}

#[async_trait]
impl Fleet for ContainerFleet {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            outlives_scaler: true,
            // Anyone at the engine may remove a container, and none is made but here.
            has_other_writers: false,
            names_at_once: true,
            drains_what_others_end: false,
        }
    }

    fn limits(&self) -> Limits {
        let (min, max) = (0, u32::MAX);
        Limits {
            bounds: Bounds { min, max },
            why: Some("the engine sets no limit".to_owned()),
        }
    }

    /// A replacement is a removal and a growth.
    fn call_limit(&self) -> Duration {
        self.limit() * 2
    }

    async fn describe(&mut self, now: Time) -> Result<FleetStatus, FleetError> {
        let limit = self.limit();
        let looked = tokio::time::timeout(limit, self.look(now)).await;
        let looked = looked.unwrap_or(Err(EngineError::Late { limit }));
        // The next call agrees with the engine anew: it may be another one by then.
        let members = looked.inspect_err(|_| self.engine.hang_up())?;
        Ok(FleetStatus {
            members,
            ended: std::mem::take(&mut self.ended),
            ..FleetStatus::default()
        })
    }

    async fn grow(&mut self, now: Time, count: u32) -> Result<Vec<String>, FleetError> {
        let limit = self.limit();
        let launched = tokio::time::timeout(limit, self.launch(now, count)).await;
        Ok(launched.unwrap_or(Err(EngineError::Late { limit }))?)
    }

    async fn remove(&mut self, id: &str) -> Result<(), FleetError> {
        let Some(known) = self.known.get(id) else {
            return Err(FleetError::Unknown { id: id.to_owned() });
        };
        if self.leaving.contains_key(id) {
            return Ok(());
        }
        let (limit, engine_id) = (self.limit(), known.engine_id.clone());
        let stopped = tokio::time::timeout(limit, self.stop(id, &engine_id)).await;
        Ok(stopped.unwrap_or(Err(EngineError::Late { limit }))?)
    }

    /// Leaves the containers serving: they live without the scaler, and the next one finds them.
    async fn close(&mut self) {}

    fn abandon(&mut self) {}
}
