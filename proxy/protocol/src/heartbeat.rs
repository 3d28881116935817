//! The heartbeat: how a worker announces itself to every proxy, once a second and on a change of state.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// One announcement by one worker to one proxy. Posted as JSON with the `worker` token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// [`crate::VERSION`] of the writer.
    pub version: u32,
    /// Stable name of this worker; unique in the fleet.
    pub worker: String,
    /// Changes each time the worker's process starts.
    pub boot: String,
    /// Counts the heartbeats of this boot from 1; an older heartbeat that arrives late is ignored.
    pub sequence: u64,
    /// The machine's instance id, where there is one.
    #[serde(default)]
    pub instance: Option<String>,
    /// Where the worker takes requests.
    pub address: SocketAddr,
    /// The model id that clients name.
    pub model: String,
    /// How many requests the worker takes at once.
    pub slots: u32,
    /// Slots taken now, by any proxy or direct client, abandoned work included.
    pub busy: u32,
    /// Of `busy`, those taken through the proxy that this heartbeat goes to.
    pub yours: u32,
    /// Tokens that the worker holds at once, of all requests together; absent where it counts
    /// requests alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Tokens taken now.
    #[serde(default)]
    pub tokens_busy: u64,
    /// Of `busy`, those that wait for their batch.
    #[serde(default)]
    pub queue: u32,
    pub state: WorkerState,
}

/// What a worker says of itself. Only `Ready` workers are handed requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// Loading or warming up; the model does not answer yet.
    Warming,
    Ready,
    /// Finishing what it has; takes nothing new.
    Draining,
}

/// A proxy's answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatReply {
    /// [`crate::VERSION`] of the writer.
    pub version: u32,
    /// Name of the proxy, as it stands in [`crate::PROXY_HEADER`] of the requests it sends;
    /// empty from a proxy that does not say.
    #[serde(default)]
    pub proxy: String,
    /// What the worker shall do now; absent when it may go on as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
}

/// An order that a proxy passes on to a worker. Carrying one out twice changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Take nothing new.
    Drain,
    /// Take requests again; sent only to a worker that drains by order.
    Undrain,
}
