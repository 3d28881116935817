//! Heartbeats: one task for each proxy, which announces this worker every second and at once when its
//! state changes, and takes the proxy's orders from the answers.
//!
//! When a proxy does not answer, that is logged once, and once when it is back; it never slows the
//! others. A DNS name in a proxy's URL may have the addresses of several proxies, and is resolved again.

mod names;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::counter;
use reqwest::Client;
use thiserror::Error;
use tidegate_protocol::{Heartbeat, HeartbeatReply};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

use self::names::Ties;
use crate::admission::Admission;
use crate::causes::causes;
use crate::lifecycle::Lifecycle;
use crate::proxy_url::ProxyUrl;

/// Heartbeats by proxy and by whether they were answered, for whoever records metrics.
const SENT: &str = "tidegate_beats_total";

/// Whose heartbeats these are.
#[derive(Clone)]
pub struct Subject {
    pub identity: Identity,
    /// The model id that clients name.
    pub model: String,
    pub life: Arc<Lifecycle>,
    pub admission: Arc<Admission>,
    /// Requests that wait for their batch.
    pub waiting: Arc<dyn Fn() -> usize + Send + Sync>,
    /// Shared with the proxies; none where they ask for none.
    pub token: Option<String>,
    /// Of the protocol.
    pub version: u32,
}

/// How often heartbeats are sent, and how long one may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    pub interval: Duration,
    /// Time for a proxy to answer one heartbeat.
    pub timeout: Duration,
}

/// What stays the same in every heartbeat.
#[derive(Clone, Debug)]
pub struct Identity {
    pub worker: String,
    pub boot: String,
    pub instance: Option<String>,
    pub address: Announced,
}

/// The address that heartbeats announce.
#[derive(Clone, Copy, Debug)]
pub enum Announced {
    Fixed(SocketAddr),
    /// This port, at whichever of this machine's addresses faces the proxy.
    Port(u16),
}

#[derive(Debug, Error)]
enum HeartbeatError {
    #[error("{}", causes(.0))]
    Unreachable(#[from] reqwest::Error),
    #[error("it answers {0}")]
    Refused(reqwest::StatusCode),
    #[error("it does not answer within {0:?}")]
    Late(Duration),
    #[error("this machine has no address towards it: {0}")]
    NoAddress(std::io::Error),
}

impl Identity {
    /// Names made from the host, the port and the time where none are given.
    pub fn new(
        id: Option<String>,
        instance: Option<String>,
        address: Announced,
        port: u16,
    ) -> Identity {
        let host = || gethostname::gethostname().to_string_lossy().into_owned();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Identity {
            worker: id.unwrap_or_else(|| format!("{}-{port}", host())),
            boot: format!("{:x}-{:x}", now.as_micros(), std::process::id()),
            instance,
            address,
        }
    }
}

impl Announced {
    pub fn new(advertise: Option<SocketAddr>, listening: SocketAddr) -> Announced {
        match advertise {
            Some(address) => Announced::Fixed(address),
            None if listening.ip().is_unspecified() => Announced::Port(listening.port()),
            None => Announced::Fixed(listening),
        }
    }

    async fn towards(self, proxy: &ProxyUrl) -> Result<SocketAddr, HeartbeatError> {
        match self {
            Announced::Fixed(address) => Ok(address),
            Announced::Port(port) => {
                let ip = facing(proxy).await.map_err(HeartbeatError::NoAddress)?;
                Ok(SocketAddr::new(ip, port))
            }
        }
    }
}

/// The address of this machine from which packets to the proxy would leave; sends none.
async fn facing(proxy: &ProxyUrl) -> std::io::Result<IpAddr> {
    let mut found = tokio::net::lookup_host(proxy.host_and_port()).await?;
    let proxy = found.next().ok_or(ErrorKind::NotFound)?;
    let any: IpAddr = match proxy {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(proxy).await?;
    Ok(socket.local_addr()?.ip())
}

/// The tasks that send heartbeats, one for each proxy.
pub struct Heartbeats {
    tasks: JoinSet<()>,
    /// Dropped to end them.
    leaving: watch::Sender<()>,
}

impl Heartbeats {
    /// Starts to send heartbeats to every proxy.
    pub fn start(
        subject: &Subject,
        proxies: &[ProxyUrl],
        intervals: Intervals,
    ) -> reqwest::Result<Heartbeats> {
        let client = Client::builder().no_proxy().build()?;
        let mut heartbeats = Heartbeats {
            tasks: JoinSet::new(),
            leaving: watch::Sender::new(()),
        };
        for proxy in proxies {
            let (subject, client) = (subject.clone(), client.clone());
            let sender = move |proxy| Sender::new(&subject, &client, proxy);
            let leaving = heartbeats.leaving.subscribe();
            if proxy.is_address() {
                let ties = Ties {
                    answered: watch::Sender::new(None),
                    leaving,
                };
                let mut sender = sender(proxy.clone());
                heartbeats
                    .tasks
                    .spawn(async move { sender.run(intervals, ties).await });
                continue;
            }
            let start = move |address, ties| {
                let mut sender = sender(ProxyUrl::at(address));
                async move { sender.run(intervals, ties).await }
            };
            let name = proxy.host_and_port().to_owned();
            let all = names::follow(name, names::system, leaving, start);
            heartbeats.tasks.spawn(all);
        }
        Ok(heartbeats)
    }

    /// Says to every proxy once more how things stand, and ends: within two heartbeat timeouts, one
    /// for the heartbeat under way and one for the last.
    pub async fn leave(self) {
        drop(self.leaving);
        self.tasks.join_all().await;
    }
}

/// Sends heartbeats to one proxy.
struct Sender {
    subject: Subject,
    proxy: ProxyUrl,
    client: Client,
    /// As its last answer said; empty before the first.
    proxy_name: String,
    sequence: u64,
    /// Whether the last heartbeat was answered.
    reachable: Option<bool>,
}

impl Sender {
    fn new(subject: &Subject, client: &Client, proxy: ProxyUrl) -> Sender {
        Sender {
            subject: subject.clone(),
            proxy,
            client: client.clone(),
            proxy_name: String::new(),
            sequence: 0,
            reachable: None,
        }
    }

    async fn run(&mut self, intervals: Intervals, mut ties: Ties) {
        let Intervals { interval, timeout } = intervals;
        let mut changes = self.subject.life.watch();
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stay = true;
        while stay {
            tokio::select! {
                _ = ticks.tick() => {}
                () = changes.changed() => ticks.reset(),
                // Nothing is ever sent: the channel closes.
                _ = ties.leaving.changed() => stay = false,
            }
            // All of it: finding the proxy's address has no limit of its own.
            let result = tokio::time::timeout(timeout, self.send()).await;
            let result = result.unwrap_or(Err(HeartbeatError::Late(timeout)));
            if result.is_ok() {
                ties.answered.send_replace(Some(Instant::now()));
            }
            self.note(result);
        }
    }

    async fn send(&mut self) -> Result<HeartbeatReply, HeartbeatError> {
        self.sequence += 1;
        let heartbeat = self.compose().await?;
        let mut request = self.client.post(self.proxy.heartbeat()).json(&heartbeat);
        if let Some(token) = &self.subject.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.map_err(reqwest::Error::without_url)?;
        match answer.status() {
            status if status.is_success() => Ok(answer.json().await?),
            status => Err(HeartbeatError::Refused(status)),
        }
    }

    async fn compose(&self) -> Result<Heartbeat, HeartbeatError> {
        let subject = &self.subject;
        let identity = &subject.identity;
        // Asks the resolver, so what follows is read when that is over.
        let address = identity.address.towards(&self.proxy).await?;
        // The state before the slots: a heartbeat that says draining and none busy is then true.
        let state = subject.life.state();
        let held = subject.admission.held(&self.proxy_name);
        let capacity = subject.admission.capacity();
        // A direct client has no name, nor has a proxy before its first answer.
        let yours = match self.proxy_name.is_empty() {
            true => 0,
            false => held.yours,
        };
        Ok(Heartbeat {
            version: subject.version,
            worker: identity.worker.clone(),
            boot: identity.boot.clone(),
            sequence: self.sequence,
            instance: identity.instance.clone(),
            address,
            model: subject.model.clone(),
            slots: capacity.requests,
            busy: held.busy,
            yours,
            tokens: capacity.tokens,
            tokens_busy: held.tokens,
            queue: (subject.waiting)() as u32,
            state,
        })
    }

    fn note(&mut self, result: Result<HeartbeatReply, HeartbeatError>) {
        let proxy = self.proxy.as_str();
        let outcome = match &result {
            Ok(_) => "ok",
            Err(_) => "failed",
        };
        counter!(SENT, "proxy" => proxy.to_owned(), "result" => outcome).increment(1);
        match result {
            Ok(reply) => {
                if self.reachable.replace(true) != Some(true) {
                    info!(proxy, name = reply.proxy, "the proxy accepts heartbeats");
                }
                self.proxy_name = reply.proxy;
                if let Some(order) = reply.order {
                    self.subject.life.obey(order);
                }
            }
            Err(error) => {
                if self.reachable.replace(false) != Some(false) {
                    warn!(proxy, %error, "the proxy did not accept a heartbeat; retrying");
                }
            }
        }
    }
}
