//! The heartbeats of the timed worker, to one proxy each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_protocol::{BEAT_PATH, Heartbeat, HeartbeatReply, Order, WorkerState};

use crate::http::Worker;

pub struct Heartbeats {
    pub id: String,
    pub model: String,
    pub address: SocketAddr,
    pub version: u32,
    pub token: String,
    pub worker: Arc<Worker>,
}

/// Heartbeats once a second and on a change of state, for as long as the process lives.
pub async fn run(beats: Arc<Heartbeats>, proxy: String) {
    let client = reqwest::Client::new();
    let mut state = beats.worker.watch_state();
    let mut yours = String::new();
    for sequence in 1.. {
        let busy = beats.worker.busy();
        let beat = Heartbeat {
            version: beats.version,
            worker: beats.id.clone(),
            boot: std::process::id().to_string(),
            sequence,
            instance: None,
            address: beats.address,
            model: beats.model.clone(),
            slots: beats.worker.slots,
            busy: busy.values().sum(),
            yours: busy.get(&yours).copied().unwrap_or(0),
            queue: 0,
            state: *state.borrow_and_update(),
        };
        if let Some(reply) = post(&client, &proxy, &beats.token, &beat).await {
            yours = reply.proxy;
            match reply.order {
                Some(Order::Drain) => beats.worker.set_state(WorkerState::Draining),
                Some(Order::Undrain) => beats.worker.set_state(WorkerState::Ready),
                None => {}
            }
        }
        let _ = tokio::time::timeout(Duration::from_secs(1), state.changed()).await;
    }
}

async fn post(
    client: &reqwest::Client,
    proxy: &str,
    token: &str,
    beat: &Heartbeat,
) -> Option<HeartbeatReply> {
    let request = client
        .post(format!("{proxy}{BEAT_PATH}"))
        .bearer_auth(token)
        .json(beat);
    let response = request
        .timeout(Duration::from_millis(800))
        .send()
        .await
        .ok()?;
    response.json().await.ok()
}
