//! What the tests speak in: policies as TOML, ticks as few words.

use serde::Deserialize;
use tidegate_config::Duration;
use tidegate_control::{
    Action, Behaviour, CostRules, Decision, Fleet, FleetRules, ForecastRules, Formula, Law,
    Observation, Policy, ProxyObservation, ScheduleRule, Seen, SignalRule, Slo, Stage, Time,
    Worker, WorkerObservation,
};

/// One worker per 8 requests in the queue or 4 in flight; shrinks after 30 s.
pub const POLICY: &str = r#"
[fleet]
kind = "process"
min = 1
max = 5
lead_time = "20s"
silence = "30s"
drain_limit = "60s"

[slo]
latency = "2s"

[[signal]]
name = "queue"
metric = "queue_length"
statistic = "mean"
window = "5s"
target_per_worker = 8

[[signal]]
name = "busy"
metric = "in_flight"
statistic = "mean"
window = "5s"
target_per_worker = 4

[scale_in]
stabilization = "30s"
"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    fleet: FleetRules,
    slo: Slo,
    signal: Vec<SignalRule>,
    #[serde(default)]
    forecast: Option<ForecastRules>,
    #[serde(default)]
    schedule: Vec<ScheduleRule>,
    #[serde(default)]
    formula: Option<String>,
    #[serde(default)]
    cost: Option<CostRules>,
    #[serde(default)]
    scale_out: Behaviour,
    #[serde(default)]
    scale_in: Behaviour,
}

pub fn policy(text: &str) -> Policy {
    let tables: Tables = toml::from_str(text).expect("the policy is valid");
    let names: Vec<String> = tables.signal.iter().map(|s| s.name.clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let formula = |text: String| Formula::new(&text, &names).expect("the formula is valid");
    let mut policy = Policy::new(
        tables.fleet,
        tables.slo,
        Duration::from_secs(5),
        tables.signal,
        &tables.scale_out,
        &tables.scale_in,
    );
    policy.forecast = tables.forecast;
    policy.schedules = tables.schedule;
    policy.formula = tables.formula.map(formula);
    policy.cost = tables.cost;
    policy
}

pub fn at(seconds: u64) -> Time {
    Time::from_ms(1_000_000 + seconds * 1000)
}

/// What one proxy reports of `waiting` requests in the queue and `in_flight` beyond it.
pub fn seen(waiting: u64, in_flight: u64) -> Seen {
    Seen {
        epoch: "e".to_owned(),
        counted: true,
        waiting,
        in_flight,
        ..Seen::default()
    }
}

/// What one proxy says, or does not.
pub fn observation(seen: Option<Seen>) -> Observation {
    let source = "proxy-a".to_owned();
    Observation {
        proxies: vec![ProxyObservation { source, seen }],
        ..Observation::default()
    }
}

/// A worker as its proxy reports it: busy with `permits` requests.
pub fn report(id: &str, permits: u32) -> WorkerObservation {
    WorkerObservation {
        id: id.to_owned(),
        ready: true,
        draining: false,
        slots: 4,
        permits,
        elsewhere: 0,
        beat_age_ms: 500,
    }
}

pub fn worker(id: &str, launched: Time, stage: Stage) -> Worker {
    let id = id.to_owned();
    Worker {
        id,
        launched,
        stage,
    }
}

/// A law and the fleet it decides about, one tick a second.
pub struct Scene {
    pub law: Law,
    pub workers: Vec<Worker>,
    pub reports: Vec<WorkerObservation>,
    pub launches_held_until: Option<Time>,
    pub kept_draining: Vec<String>,
    pub second: u64,
}

impl Scene {
    /// `serving` workers that have served for long, watched for longer than any window.
    pub fn new(text: &str, serving: u32) -> Scene {
        let mut scene = Scene::unwatched(text, serving);
        let busy = u64::from(serving) * 4;
        for _ in 0..60 {
            scene.tick(0, busy);
        }
        scene
    }

    /// As [`Scene::new`], as after a restart without a ledger.
    pub fn unwatched(text: &str, serving: u32) -> Scene {
        let ids = (1..=serving).map(|number| format!("w-{number}"));
        let serving = |id: &String| worker(id, at(0), Stage::Serving { heard: at(0) });
        Scene {
            law: Law::new(policy(text)),
            workers: ids.clone().map(|id| serving(&id)).collect(),
            reports: ids.map(|id| report(&id, 4)).collect(),
            launches_held_until: None,
            kept_draining: Vec::new(),
            second: 100,
        }
    }

    pub fn now(&self) -> Time {
        at(self.second)
    }

    /// One tick of a complete observation.
    pub fn tick(&mut self, waiting: u64, in_flight: u64) -> Decision {
        let mut seen = seen(waiting, in_flight);
        seen.workers = self.reports.clone();
        self.see(&observation(Some(seen)))
    }

    /// One tick in which no proxy answers.
    pub fn blind_tick(&mut self) -> Decision {
        self.see(&observation(None))
    }

    /// As [`Scene::tick`], with workers that were last heard of when their stage says.
    pub fn tick_as_is(&mut self, waiting: u64, in_flight: u64) -> Decision {
        let mut seen = seen(waiting, in_flight);
        seen.workers = self.reports.clone();
        self.decide(&observation(Some(seen)))
    }

    pub fn see(&mut self, observation: &Observation) -> Decision {
        let next = at(self.second + 1);
        for worker in &mut self.workers {
            if let Stage::Serving { heard } = &mut worker.stage {
                *heard = next;
            }
        }
        self.decide(observation)
    }

    fn decide(&mut self, observation: &Observation) -> Decision {
        self.second += 1;
        let now = self.now();
        let fleet = Fleet {
            workers: self.workers.clone(),
            launches_held_until: self.launches_held_until,
            kept_draining: self.kept_draining.clone(),
            ..Fleet::default()
        };
        self.law.decide(now, observation, &fleet)
    }

    /// Ticks until the law wants something done, for at most `ticks`.
    pub fn until_action(&mut self, ticks: u32, waiting: u64, in_flight: u64) -> Decision {
        for _ in 1..ticks {
            let decision = self.tick(waiting, in_flight);
            if decision.action != Action::default() {
                return decision;
            }
        }
        self.tick(waiting, in_flight)
    }

    /// Puts a worker into a stage; the proxies report it as draining accordingly.
    pub fn set(&mut self, id: &str, stage: Stage) {
        for worker in self.workers.iter_mut().filter(|worker| worker.id == id) {
            worker.stage = stage;
        }
        for report in self.reports.iter_mut().filter(|report| report.id == id) {
            report.draining = matches!(stage, Stage::Draining { .. } | Stage::Leaving);
        }
    }

    pub fn permits(&mut self, id: &str, permits: u32) {
        for report in self.reports.iter_mut().filter(|report| report.id == id) {
            report.permits = permits;
        }
    }
}
