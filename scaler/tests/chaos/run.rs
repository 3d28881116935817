//! One run: two scalers with one lease before one group, ten hours of whatever can go wrong, and
//! then calm.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_control::chance::Chance;
use tidegate_control::{Law, Roster, Time};
use tidegate_scaler::config::PolicyFile;
use tidegate_scaler::fleet::asg::fake::{FakeGroup, Shape, Weather, World as Group};
use tidegate_scaler::fleet::asg::{AsgFleet, Setup};
use tidegate_scaler::lease::{Fate, Lease, Shared as SharedLease, Table, Terms};
use tidegate_scaler::publish::Publisher;
use tidegate_scaler::scaler::{Hands, Parts, Scaler};
use tidegate_scaler::sources::Sources;
use tokio::time::Instant;

use crate::service::{Fates, Service};
use crate::watched::{Examiner, Gate, LEAST, MOST, Quiet, Shared, Street, World, lock};

/// Of chaos, and of calm after it.
const CHAOS_S: u64 = 10 * 3600;
const CALM_S: u64 = 3600;

const BEGIN: Time = Time::from_ms(1_700_000_000_000);
const TIMEOUT: Duration = Duration::from_millis(800);

const POLICY: &str = r#"
[fleet]
kind = "asg"
min = 2
max = 12
lead_time = "3m"
silence = "30s"
drain_limit = "2m"
[slo]
latency = "10s"
[[signal]]
name = "requests"
metric = "concurrency"
statistic = "mean"
window = "20s"
target_per_worker = 3
[scale_in]
stabilization = "2m"
steps = [{ percent = 50, per = "60s" }]
[proxies]
admin = ["http://10.0.0.1:9090"]
token_file = "none"
[asg]
group = "workers"
launch_hook = "ready"
terminate_hook = "drained"
"#;

/// One scaler's place: a process that may be there or not.
struct Seat {
    scaler: Option<Scaler>,
    owner: String,
    street: Street,
    table: Table,
    /// When a dead one is started again.
    back_at: u64,
    lives: u32,
}

pub struct Run {
    seed: u64,
    world: Shared,
    group: FakeGroup,
    table: Table,
    began: Instant,
    seats: Vec<Seat>,
    chance: Chance,
    /// Spot notices under way: when the instance goes.
    notices: BTreeMap<String, u64>,
    per_s: f64,
    aloud: bool,
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    pub broken: Vec<String>,
    pub fates: Fates,
    pub open: u64,
    pub removals: u32,
    pub takeovers: u64,
    pub kills: u32,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fates {
            arrived,
            answered,
            expired,
            cut,
        } = self.fates;
        write!(
            f,
            "{arrived} requests, {answered} answered, {expired} expired, {cut} streams cut with \
             their worker, {} open; {} removals, {} takeovers, {} kills; {} rules broken",
            self.open,
            self.removals,
            self.takeovers,
            self.kills,
            self.broken.len()
        )
    }
}

impl Run {
    pub fn new(seed: u64, aloud: bool) -> Run {
        let world = Arc::new(Mutex::new(World {
            service: Service::new(seed),
            broken: Vec::new(),
            removals: 0,
        }));
        let began = Instant::now();
        let shape = Shape {
            min: LEAST,
            max: MOST,
            desired: LEAST,
            launch_hook: Some(("ready".to_owned(), Duration::from_secs(300))),
            terminate_hook: Some(("drained".to_owned(), Duration::from_secs(300))),
            ..Shape::default()
        };
        let group = FakeGroup::new(Group::new(seed, BEGIN, shape), move || {
            BEGIN + began.elapsed()
        });
        let table = Table::new(TIMEOUT);
        let seats = (0..2).map(|_| Seat {
            scaler: None,
            owner: String::new(),
            street: Street {
                world: world.clone(),
                cut: Arc::default(),
            },
            table: table.caller(),
            back_at: 0,
            lives: 0,
        });
        Run {
            seed,
            seats: seats.collect(),
            world,
            group,
            table,
            began,
            chance: Chance::new(seed, "chaos"),
            notices: BTreeMap::new(),
            per_s: 2.0,
            aloud,
        }
    }

    pub async fn play(mut self) -> Outcome {
        while self.second() < CHAOS_S {
            self.go_wrong();
            self.tick().await;
        }
        self.calm_down();
        let mut sizes = Vec::new();
        while self.second() < CHAOS_S + CALM_S {
            self.tick().await;
            if self.second() > CHAOS_S + CALM_S - 900 {
                sizes.push(self.group.world().desired());
            }
        }
        self.has_converged(&sizes);
        let world = lock(&self.world);
        let item = self.table.item();
        Outcome {
            broken: world.broken.clone(),
            fates: world.service.fates,
            open: world.service.open(),
            removals: world.removals,
            takeovers: item.as_ref().map_or(0, |item| item.epoch),
            kills: self.seats.iter().map(|seat| seat.lives - 1).sum(),
        }
    }

    fn second(&self) -> u64 {
        self.began.elapsed().as_secs()
    }

    /// One second: the service, then both scalers at once.
    async fn tick(&mut self) {
        let now = BEGIN + self.began.elapsed();
        let second = self.second();
        while lock(&self.world).service.now() < second {
            self.step();
        }
        for index in 0..self.seats.len() {
            if self.seats[index].scaler.is_none() && second >= self.seats[index].back_at {
                self.start(index);
            }
        }
        let kill = self.next_kill();
        let ticks = self.seats.iter_mut().enumerate().map(|(index, seat)| {
            let patience = kill.filter(|(victim, _)| *victim == index);
            async move {
                let Some(scaler) = &mut seat.scaler else {
                    return;
                };
                let Some((_, after)) = patience else {
                    return scaler.tick(now).await;
                };
                // It dies within the tick, wherever it is.
                let _ = tokio::time::timeout(after, scaler.tick(now)).await;
                seat.scaler = None;
            }
        });
        futures_util::future::join_all(ticks).await;
        let next = self.began + Duration::from_secs(second + 1);
        tokio::time::sleep_until(next).await;
    }

    fn step(&mut self) {
        let working = self.group.world().working();
        let mut world = lock(&self.world);
        world.service.step(self.per_s, &working);
        let now = world.service.now();
        let gone = self.notices.extract_if(.., |_, at| *at <= now);
        let gone: Vec<String> = gone.map(|(id, _)| id).collect();
        drop(world);
        gone.iter().for_each(|id| self.group.world().take_away(id));
    }

    fn start(&mut self, index: usize) {
        let seat = &mut self.seats[index];
        seat.lives += 1;
        seat.owner = format!("{index}-{}", seat.lives);
        let file: PolicyFile = tidegate_config::parse(POLICY, "policy.toml".as_ref())
            .unwrap_or_else(|error| panic!("{error}"));
        let gate = Gate {
            group: self.group.clone(),
            world: self.world.clone(),
            table: self.table.clone(),
            owner: seat.owner.clone(),
        };
        let fleet = AsgFleet::new(Setup {
            group: gate,
            rules: file.asg.clone().expect("there is an [asg]"),
            lead_time: file.fleet.lead_time.into(),
            drain_limit: file.fleet.drain_limit.into(),
            launched: BTreeMap::new(),
        });
        let terms = Terms {
            duration: Duration::from_secs(10),
            every: Duration::from_secs(2),
        };
        let store = Box::new(seat.table.clone());
        seat.scaler = Some(Scaler::new(Parts {
            law: Law::new(file.policy()),
            roster: Roster::default(),
            proxies: Box::new(seat.street.clone()),
            sources: Sources::default(),
            hands: Hands::Free(Box::new(fleet)),
            lease: Lease::Shared(SharedLease::new(store, seat.owner.clone(), terms)),
            ledger: Box::new(Examiner(seat.street.clone())),
            publisher: Publisher::default(),
            tell: Box::new(Quiet {
                owner: seat.owner.clone(),
                world: self.world.clone(),
                aloud: self.aloud,
            }),
        }));
    }

    fn happens(&mut self, per_hour: f64) -> bool {
        self.chance.unit() < per_hour / 3600.0
    }

    /// Which scaler dies at this tick, and how far into it.
    fn next_kill(&mut self) -> Option<(usize, Duration)> {
        if self.second() >= CHAOS_S || !self.happens(6.0) {
            return None;
        }
        let index = usize::from(self.chance.unit() < 0.5);
        self.seats[index].back_at = self.second() + self.chance.between(5.0, 300.0) as u64;
        Some((
            index,
            Duration::from_millis(self.chance.between(0.0, 1500.0) as u64),
        ))
    }

    fn go_wrong(&mut self) {
        if self.happens(12.0) {
            self.per_s = self.chance.between(0.2, 7.0);
        }
        if self.happens(20.0) {
            self.change_the_weather();
        }
        for index in 0..self.seats.len() {
            if self.happens(15.0) {
                let fates = [
                    Fate::NotArrived,
                    Fate::ReplyLost,
                    Fate::Answered,
                    Fate::Answered,
                ];
                let fate = fates[self.chance.next_u64() as usize % fates.len()];
                self.seats[index].table.set_fate(fate);
            }
            if self.happens(15.0) {
                let (proxy, now) = (usize::from(self.chance.unit() < 0.5), self.second());
                let cut = &mut self.seats[index].street.cuts()[proxy];
                *cut = match cut {
                    Some(_) => None,
                    None => Some(now),
                };
            }
        }
        if self.happens(6.0) {
            self.take_one_away();
        }
        if self.happens(2.0) {
            let desired = self
                .chance
                .between(f64::from(LEAST), f64::from(MOST))
                .round() as u32;
            let _ = self.group.world().set_desired(desired.min(MOST));
        }
    }

    fn change_the_weather(&mut self) {
        let chance = &mut self.chance;
        let mut often = |most: f64| match chance.unit() < 0.5 {
            true => 0.0,
            false => chance.between(0.0, most),
        };
        let weather = Weather {
            lag: Duration::from_secs_f64(often(15.0)),
            delay: Duration::from_secs_f64(often(0.7)),
            timeout: TIMEOUT,
            throttled: often(0.3),
            not_arrived: often(0.2),
            reply_lost: often(0.2),
            stillborn: often(0.2),
            ..Weather::default()
        };
        let is_short = chance.unit() < 0.2;
        let mut group = self.group.world();
        group.weather = weather;
        if is_short {
            let zones = ["eu-central-1a", "eu-central-1b"];
            let offerings = zones.map(|zone| ("c7i.large".to_owned(), zone.to_owned()));
            group.weather.short.extend(offerings);
        }
    }

    /// A spot notice, two minutes ahead, or a machine that breaks.
    fn take_one_away(&mut self) {
        let working = self.group.world().working();
        if working.is_empty() {
            return;
        }
        let id = &working[self.chance.next_u64() as usize % working.len()];
        match self.chance.unit() < 0.7 {
            true => {
                let mut world = lock(&self.world);
                world.service.give_notice(id);
                let at = world.service.now() + 120;
                self.notices.insert(id.clone(), at);
            }
            false => self.group.world().break_down(id),
        }
    }

    fn calm_down(&mut self) {
        self.group.world().weather = Weather::default();
        for seat in &mut self.seats {
            seat.table.set_fate(Fate::Answered);
            *seat.street.cuts() = Default::default();
        }
        self.per_s = 2.0;
    }

    /// Two requests a second of 2.5 s are five at once: two workers by three, and a little more.
    fn has_converged(&mut self, sizes: &[u32]) {
        let (least, most) = (sizes.iter().min(), sizes.iter().max());
        let leaders = (self.seats.iter().flat_map(|seat| &seat.scaler))
            .filter(|scaler| scaler.leads())
            .count();
        let mut world = lock(&self.world);
        if most.is_none_or(|most| *most > 5) || least.is_none_or(|least| *least < LEAST) {
            world.breaks(format!(
                "in the end there are {least:?} to {most:?} workers"
            ));
        }
        let waiting = world.service.waiting();
        if waiting > 8 {
            world.breaks(format!("in the end {waiting} requests wait"));
        }
        if leaders != 1 {
            world.breaks(format!("in the end {leaders} scalers lead"));
        }
        let seed = self.seed;
        let fates = world.service.fates;
        let accounted = fates.answered + fates.expired + fates.cut + world.service.open();
        if accounted != fates.arrived {
            world.breaks(format!("seed {seed}: {fates:?} do not add up"));
        }
    }
}
