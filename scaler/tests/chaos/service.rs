//! Two proxies and the workers behind them, second by second: requests wait, are handed out, are
//! answered, or run out of time. A model of what the proxy does; the scaler sees it by signals.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use tidegate_control::chance::Chance;
use tidegate_protocol::{ModelSignal, Order, Signal, VERSION, WorkerSignal, WorkerState};

pub const PROXIES: usize = 2;
pub const SLOTS: u32 = 4;

/// How long a request may wait.
const PATIENCE_S: u64 = 600;

#[derive(Clone, Copy, Debug)]
struct Request {
    arrived: u64,
    takes: u64,
    /// Its answer begins at once, so that it cannot be moved to another worker.
    streams: bool,
}

#[derive(Clone, Debug)]
struct Running {
    worker: String,
    done: u64,
    request: Request,
}

#[derive(Debug, Default)]
struct Proxy {
    line: VecDeque<Request>,
    running: Vec<Running>,
    model: ModelSignal,
    drained: BTreeSet<String>,
}

/// What became of all requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fates {
    pub arrived: u64,
    pub answered: u64,
    pub expired: u64,
    /// Streams that had begun on a worker which was lost.
    pub cut: u64,
}

pub struct Service {
    proxies: [Proxy; PROXIES],
    /// Who works; the value: since when it drains by itself, after a spot notice.
    workers: BTreeMap<String, Option<u64>>,
    /// When each of them was last heard of.
    heard: BTreeMap<String, u64>,
    /// No heartbeat arrives, whoever sends it.
    pub is_deaf: bool,
    pub fates: Fates,
    chance: Chance,
    now: u64,
}

impl Service {
    pub fn new(seed: u64) -> Service {
        Service {
            proxies: Default::default(),
            workers: BTreeMap::new(),
            heard: BTreeMap::new(),
            is_deaf: false,
            fates: Fates::default(),
            chance: Chance::new(seed, "requests"),
            now: 0,
        }
    }

    pub fn now(&self) -> u64 {
        self.now
    }

    /// One second passes, with so many arrivals on average; these workers work.
    pub fn step(&mut self, per_s: f64, working: &[String]) {
        self.now += 1;
        self.complete();
        self.lose_all_but(working);
        let mut due = per_s;
        while due > 0.0 && self.chance.unit() <= due {
            due -= 1.0;
            self.arrive();
        }
        self.expire();
        self.hand_out();
    }

    pub fn give_notice(&mut self, id: &str) {
        if let Some(drains) = self.workers.get_mut(id) {
            drains.get_or_insert(self.now);
        }
    }

    /// Requests at this worker.
    pub fn permits(&self, id: &str) -> u32 {
        let all = self.proxies.iter();
        all.map(|proxy| proxy.permits(id)).sum()
    }

    pub fn waiting(&self) -> usize {
        self.proxies.iter().map(|proxy| proxy.line.len()).sum()
    }

    /// Accepted, and neither answered nor expired.
    pub fn open(&self) -> u64 {
        let running = self.proxies.iter().map(|proxy| proxy.running.len());
        (self.waiting() + running.sum::<usize>()) as u64
    }

    fn complete(&mut self) {
        for proxy in &mut self.proxies {
            let (done, running): (Vec<_>, Vec<_>) =
                (proxy.running.drain(..)).partition(|running| running.done <= self.now);
            proxy.running = running;
            for Running { request, .. } in done {
                self.fates.answered += 1;
                proxy.model.answered_total += 1;
                proxy
                    .model
                    .service
                    .record(Duration::from_secs(request.takes));
                proxy
                    .model
                    .latency
                    .record(Duration::from_secs(self.now - request.arrived));
            }
        }
    }

    fn lose_all_but(&mut self, working: &[String]) {
        self.workers.retain(|id, _| working.contains(id));
        for id in working {
            self.workers.entry(id.clone()).or_insert(None);
        }
        self.hear();
        let workers = &self.workers;
        for proxy in &mut self.proxies {
            proxy.drained.retain(|id| workers.contains_key(id));
            let (kept, lost): (Vec<_>, Vec<_>) =
                (proxy.running.drain(..)).partition(|r| workers.contains_key(&r.worker));
            proxy.running = kept;
            for Running { request, .. } in lost {
                match request.streams {
                    true => {
                        self.fates.cut += 1;
                        proxy.model.failed_total += 1;
                    }
                    false => {
                        proxy.model.retries_total += 1;
                        proxy.line.push_front(request);
                    }
                }
            }
        }
    }

    fn hear(&mut self) {
        let workers = &self.workers;
        self.heard.retain(|id, _| workers.contains_key(id));
        if !self.is_deaf {
            let all = workers.keys().map(|id| (id.clone(), self.now));
            self.heard.extend(all);
        }
    }

    fn arrive(&mut self) {
        let chance = &mut self.chance;
        let request = Request {
            arrived: self.now,
            takes: 1 + (chance.exponential() * 2.0) as u64,
            streams: chance.unit() < 0.2,
        };
        let proxy = &mut self.proxies[usize::from(chance.unit() < 0.5)];
        self.fates.arrived += 1;
        proxy.model.arrivals_total += 1;
        proxy.line.push_back(request);
    }

    fn expire(&mut self) {
        for proxy in &mut self.proxies {
            let before = proxy.line.len();
            proxy
                .line
                .retain(|request| self.now - request.arrived < PATIENCE_S);
            let expired = (before - proxy.line.len()) as u64;
            self.fates.expired += expired;
            proxy.model.expired_total += expired;
        }
    }

    /// A worker takes no more than its slots, whoever asks.
    fn hand_out(&mut self) {
        let mut free: BTreeMap<&String, u32> = BTreeMap::new();
        let known = self
            .workers
            .iter()
            .filter(|(id, _)| self.heard.contains_key(*id));
        for (id, _) in known.filter(|(_, drains)| drains.is_none()) {
            free.insert(id, SLOTS - self.permits(id).min(SLOTS));
        }
        let now = self.now;
        let first = now as usize % PROXIES;
        for index in [first, (first + 1) % PROXIES] {
            let proxy = &mut self.proxies[index];
            for (id, free) in &mut free {
                if proxy.drained.contains(*id) {
                    continue;
                }
                while *free > 0
                    && let Some(request) = proxy.line.pop_front()
                {
                    *free -= 1;
                    proxy
                        .model
                        .wait
                        .record(Duration::from_secs(now - request.arrived));
                    proxy.running.push(Running {
                        worker: (*id).clone(),
                        done: now + request.takes,
                        request,
                    });
                }
            }
        }
    }

    pub fn order(&mut self, proxy: usize, order: Order, worker: &str) {
        let drained = &mut self.proxies[proxy].drained;
        match order {
            Order::Undrain => {
                drained.remove(worker);
            }
            Order::Drain if self.workers.contains_key(worker) => {
                drained.insert(worker.to_owned());
            }
            Order::Drain => {}
        }
    }

    pub fn signal(&self, index: usize) -> Signal {
        let proxy = &self.proxies[index];
        let oldest = proxy.line.iter().map(|request| request.arrived).min();
        let model = ModelSignal {
            waiting: proxy.line.len() as u64,
            in_flight: proxy.running.len() as u64,
            oldest_waiting_ms: oldest.map(|arrived| (self.now - arrived) * 1000),
            ..proxy.model.clone()
        };
        Signal {
            version: VERSION,
            proxy: format!("proxy-{index}"),
            epoch: "1".to_owned(),
            now_ms: self.now * 1000,
            models: vec![model],
            // One that no proxy has heard of is not known.
            workers: self.heard.keys().map(|id| self.worker(index, id)).collect(),
        }
    }

    fn worker(&self, index: usize, id: &str) -> WorkerSignal {
        let proxy = &self.proxies[index];
        let leaves = self.workers.get(id).is_some_and(Option::is_some);
        let draining = leaves || proxy.drained.contains(id);
        let permits = proxy.permits(id);
        WorkerSignal {
            worker: id.to_owned(),
            boot: "1".to_owned(),
            instance: None,
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            model: String::new(),
            state: match leaves {
                true => WorkerState::Draining,
                false => WorkerState::Ready,
            },
            draining,
            taking: !draining,
            slots: SLOTS,
            permits,
            elsewhere: self.permits(id) - permits,
            beat_age_ms: 300 + (self.now - self.heard.get(id).unwrap_or(&self.now)) * 1000,
        }
    }
}

impl Proxy {
    fn permits(&self, id: &str) -> u32 {
        let own = self.running.iter().filter(|running| running.worker == id);
        own.count() as u32
    }
}
