//! Endpoints of different speeds, by simulation: what one slow worker of eight costs, that equals
//! lose nothing, and that a worker which recovers is found again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tidegate_queue::{
    Ask, Capacity, EndpointId, Moment, Outcome, Queue, QueueConfig, Ticket, Usage,
};

const WORKERS: usize = 8;
const SLOTS: u32 = 4;
const MEAN_S: f64 = 0.050;
const SIGMA: f64 = 0.99;

/// Deterministic draws, by a linear congruence of 64 bits (Knuth's MMIX constants).
struct Draws(u64);

impl Draws {
    fn unit(&mut self) -> f64 {
        let (multiply, add) = (6_364_136_223_846_793_005_u64, 1_442_695_040_888_963_407);
        self.0 = self.0.wrapping_mul(multiply).wrapping_add(add);
        ((self.0 >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.unit().ln()
    }

    /// Log-normal with mean [`MEAN_S`].
    fn service(&mut self) -> f64 {
        let angle = 2.0 * std::f64::consts::PI * self.unit();
        let normal = (-2.0 * self.unit().ln()).sqrt() * angle.cos();
        MEAN_S * (SIGMA * normal - SIGMA * SIGMA / 2.0).exp()
    }
}

/// A load: arrivals as a share of what eight fast workers can do, and how slow the last one is at
/// a time.
struct Load<'a> {
    utilisation: f64,
    slowness: &'a dyn Fn(Moment) -> f64,
    requests: usize,
    seed: u64,
}

#[derive(Debug)]
struct Outcomes {
    /// In seconds, ascending.
    latencies: Vec<f64>,
    /// Requests that the last worker got: their times of hand-out.
    on_last: Vec<Moment>,
}

impl Outcomes {
    fn quantile(&self, q: f64) -> f64 {
        self.latencies[(q * self.latencies.len() as f64) as usize]
    }
}

fn arrivals(load: &Load) -> Vec<(f64, f64)> {
    let mut draws = Draws(load.seed);
    let rate = load.utilisation * WORKERS as f64 * f64::from(SLOTS) / MEAN_S;
    let mut at = 0.0;
    let next = |_| {
        at += draws.exponential(1.0 / rate);
        (at, draws.service())
    };
    (0..load.requests).map(next).collect()
}

/// The queue over eight workers.
fn simulate(load: &Load) -> Outcomes {
    let mut queue = Queue::new(QueueConfig::default());
    let endpoints: Vec<EndpointId> = (0..WORKERS)
        .map(|_| {
            let id = queue.endpoints_mut().add();
            let capacity = Capacity::of_slots(SLOTS);
            (queue.endpoints_mut()).update(id, capacity, Usage::default(), true);
            id
        })
        .collect();
    let arrivals = arrivals(load);
    let mut outcomes = Outcomes {
        latencies: Vec::new(),
        on_last: Vec::new(),
    };
    let mut running: BinaryHeap<Reverse<(Moment, Ticket)>> = BinaryHeap::new();
    let mut asked = std::collections::BTreeMap::new();
    let mut next = 0;
    while next < arrivals.len() || !running.is_empty() {
        let arrival = arrivals.get(next).map(|(at, _)| Moment::from_secs_f64(*at));
        let completion = running.peek().map(|Reverse((at, _))| *at);
        let now = match (arrival, completion) {
            (Some(arrival), Some(completion)) if completion <= arrival => completion,
            (Some(arrival), _) => arrival,
            (None, Some(completion)) => completion,
            (None, None) => break,
        };
        if Some(now) == completion {
            let Some(Reverse((_, ticket))) = running.pop() else {
                break;
            };
            queue.end(now, ticket, Outcome::Answered);
            let (arrived, _) = asked[&ticket];
            outcomes.latencies.push((now - arrived).as_secs_f64());
        } else {
            let ask = Ask::new(now, now + Duration::from_secs(3600));
            let ticket = queue.arrive(now, ask).expect("there is room");
            asked.insert(ticket, (now, arrivals[next].1));
            next += 1;
        }
        while let Some(grant) = queue.hand_out(now) {
            let is_last = grant.endpoint == endpoints[WORKERS - 1];
            let slowness = if is_last { (load.slowness)(now) } else { 1.0 };
            if is_last {
                outcomes.on_last.push(now);
            }
            let service = Duration::from_secs_f64(asked[&grant.ticket].1 * slowness);
            running.push(Reverse((now + service, grant.ticket)));
        }
    }
    outcomes.latencies.sort_by(f64::total_cmp);
    outcomes
}

/// What a choice of the least busy worker alone gives, in turn among equals: a central queue, no
/// speeds known.
fn least_busy(load: &Load, workers: usize) -> Outcomes {
    let mut busy = [0; WORKERS];
    let mut running: BinaryHeap<Reverse<(Moment, usize)>> = BinaryHeap::new();
    let mut latencies = Vec::new();
    let free_until = |running: &mut BinaryHeap<Reverse<(Moment, usize)>>,
                      busy: &mut [u32; WORKERS],
                      until: Moment| {
        while let Some(Reverse((at, on))) = running.peek().copied()
            && at <= until
        {
            running.pop();
            busy[on] -= 1;
        }
    };
    for (turn, (at, service)) in arrivals(load).into_iter().enumerate() {
        let arrived = Moment::from_secs_f64(at);
        free_until(&mut running, &mut busy, arrived);
        // First come first served: whoever comes while all is busy waits for the next that ends.
        let mut begins = arrived;
        if running.len() == workers * SLOTS as usize
            && let Some(Reverse((ends, _))) = running.peek()
        {
            begins = *ends;
            free_until(&mut running, &mut busy, begins);
        }
        let in_turn = (0..workers).map(|on| (on + turn) % workers);
        let on = in_turn.min_by_key(|on| busy[*on]).expect("eight");
        let slowness = if on == WORKERS - 1 {
            (load.slowness)(begins)
        } else {
            1.0
        };
        let ends = begins + Duration::from_secs_f64(service * slowness);
        busy[on] += 1;
        running.push(Reverse((ends, on)));
        latencies.push((ends - arrived).as_secs_f64());
    }
    latencies.sort_by(f64::total_cmp);
    Outcomes {
        latencies,
        on_last: Vec::new(),
    }
}

#[test]
fn one_of_eight_workers_that_is_six_times_slower_costs_little() {
    for seed in 1..=3 {
        let load = Load {
            utilisation: 0.6,
            slowness: &|_| 6.0,
            requests: 60_000,
            seed,
        };
        let p99 = |outcomes: Outcomes| outcomes.quantile(0.99) * 1e3;
        let plain = p99(least_busy(&load, WORKERS));
        let without = p99(least_busy(&load, WORKERS - 1));
        let ours = p99(simulate(&load));
        println!("seed {seed}: p99 {ours:.0} ms; least busy {plain:.0}, without it {without:.0}");
        assert!(ours <= 332.0, "{ours}");
        assert!(ours <= 1.03 * without, "{ours} of {without}");
        assert!(ours <= 0.8 * plain, "{ours} of {plain}");
    }
}

#[test]
fn equals_lose_nothing() {
    for seed in 1..=3 {
        let load = Load {
            utilisation: 0.85,
            slowness: &|_| 1.0,
            requests: 200_000,
            seed,
        };
        let (ours, ideal) = (simulate(&load), least_busy(&load, WORKERS));
        for q in [0.5, 0.99, 0.999] {
            let ratio = ours.quantile(q) / ideal.quantile(q);
            println!("seed {seed}: quantile {q}: {ratio:.4} of the ideal queue");
            assert!((0.998..=1.009).contains(&ratio), "{q}: {ratio:.4}");
        }
    }
}

#[test]
fn a_slow_worker_still_helps_when_the_fast_ones_cannot_keep_up() {
    let load = Load {
        utilisation: 0.887,
        slowness: &|_| 2.5,
        requests: 60_000,
        seed: 5,
    };
    let ours = simulate(&load);
    assert!(ours.quantile(0.99) < 2.0, "{}", ours.quantile(0.99));
    assert!(ours.on_last.len() > 1_000, "{}", ours.on_last.len());
}

#[test]
fn a_worker_that_recovers_is_found_again() {
    let recovers = Moment::from_secs(60);
    let load = Load {
        utilisation: 0.6,
        slowness: &|now| if now < recovers { 6.0 } else { 1.0 },
        requests: 60_000,
        seed: 9,
    };
    let ours = simulate(&load);
    let within = |from: u64, to: u64| {
        let (from, to) = (Moment::from_secs(from), Moment::from_secs(to));
        let times = ours.on_last.iter();
        times.filter(|at| (from..to).contains(*at)).count()
    };
    // An eighth of 384 requests a second is 480 in ten seconds.
    let (slow, found) = (within(50, 60), within(90, 100));
    println!("in ten seconds: {slow} while slow, {found} after");
    assert!(slow < 48, "{slow}");
    assert!(found > 360, "{found}");
}
