//! One run: two scalers with one lease before one group, ten hours of whatever can go wrong, and
//! then calm.

mod endpoint;
mod faults;
mod outcome;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_control::Time;
use tidegate_control::chance::Chance;
use tidegate_scaler::fleet::asg::fake::{FakeGroup, Shape, World as Group};
use tidegate_scaler::lease::Table;
use tokio::time::Instant;

use endpoint::Endpoint;
pub use outcome::Outcome;

use crate::service::Service;
use crate::watched::{LEAST, MOST, Shared, Street, World, lock};

/// Of chaos, and of calm after it.
const CHAOS_S: u64 = 10 * 3600;
const CALM_S: u64 = 3600;

const BEGIN: Time = Time::from_ms(1_700_000_000_000);
const TIMEOUT: Duration = Duration::from_millis(800);

pub struct Run {
    seed: u64,
    world: Shared,
    group: FakeGroup,
    table: Table,
    began: Instant,
    endpoints: Vec<Endpoint>,
    chance: Chance,
    /// Spot notices under way: when the instance goes.
    notices: BTreeMap<String, u64>,
    per_s: f64,
    aloud: bool,
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
            // Of three groups two have a warm pool.
            warm: (seed % 3) as u32,
            ..Shape::default()
        };
        let group = FakeGroup::new(Group::new(seed, BEGIN, shape), move || {
            BEGIN + began.elapsed()
        });
        let table = Table::new(TIMEOUT);
        let endpoints = (0..2).map(|_| Endpoint {
            scaler: None,
            owner: String::new(),
            street: Street {
                world: world.clone(),
                cut: Arc::default(),
            },
            table: table.caller(),
            back_at: 0,
            ahead: Duration::ZERO,
            lives: 0,
        });
        Run {
            seed,
            endpoints: endpoints.collect(),
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
            kills: self
                .endpoints
                .iter()
                .map(|endpoint| endpoint.lives - 1)
                .sum(),
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
        for index in 0..self.endpoints.len() {
            if self.endpoints[index].scaler.is_none() && second >= self.endpoints[index].back_at {
                self.start(index);
            }
        }
        let kill = self.next_kill();
        let ticks = self
            .endpoints
            .iter_mut()
            .enumerate()
            .map(|(index, endpoint)| {
                let patience = kill.filter(|(victim, _)| *victim == index);
                let now = now + endpoint.ahead;
                async move {
                    let Some(scaler) = &mut endpoint.scaler else {
                        return;
                    };
                    let Some((_, after)) = patience else {
                        return scaler.tick(now).await;
                    };
                    // It dies within the tick, wherever it is.
                    let _ = tokio::time::timeout(after, scaler.tick(now)).await;
                    endpoint.scaler = None;
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

    /// Two requests a second of 2.5 s are five at once: two workers by three, and a little more.
    fn has_converged(&mut self, sizes: &[u32]) {
        let (least, most) = (sizes.iter().min(), sizes.iter().max());
        let leaders = (self.endpoints.iter().flat_map(|endpoint| &endpoint.scaler))
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
