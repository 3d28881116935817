//! Ten hours of bad luck in simulated time: the real scalers, two of them with one lease, before a
//! group that throttles, times out, lacks capacity, loses replies and has other writers; leaders
//! are killed within a tick, proxies and the lease's table are cut off, spot notices come.
//!
//! `TIDEGATE_CHAOS_SEEDS` says how many runs there are (10); `TIDEGATE_CHAOS_SEED` plays one again
//! and has it say aloud what happens.

mod run;
mod service;
mod watched;

use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use run::{Outcome, Run};

const SEEDS: u64 = 10;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

fn play(seed: u64, aloud: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async { Run::new(seed, aloud).play().await })
}

/// Plays seeds on all cores, and returns those that broke a rule.
fn play_all(seeds: u64) -> Vec<(u64, Outcome)> {
    let next = AtomicU64::new(0);
    let work = || {
        let mut broken = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return broken;
            }
            let outcome = play(seed, false);
            println!("seed {seed}: {outcome}");
            if !outcome.broken.is_empty() {
                broken.push((seed, outcome));
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let ended = threads.into_iter().flat_map(|thread| thread.join());
        ended.flatten().collect()
    })
}

#[test]
fn no_bad_luck_breaks_a_promise() {
    if let Some(seed) = number("TIDEGATE_CHAOS_SEED") {
        let outcome = play(seed, true);
        println!("{outcome}");
        assert!(outcome.broken.is_empty(), "{:#?}", outcome.broken);
        return;
    }
    let seeds = number("TIDEGATE_CHAOS_SEEDS").unwrap_or(SEEDS);
    let broken = play_all(seeds);
    let tell = |(seed, outcome): &(u64, Outcome)| {
        let rules = outcome.broken.iter().take(3);
        let rules: Vec<&str> = rules.map(String::as_str).collect();
        format!("TIDEGATE_CHAOS_SEED={seed}: {}", rules.join("; "))
    };
    let events: Vec<String> = broken.iter().map(tell).collect();
    assert!(
        broken.is_empty(),
        "play it again with\n{}",
        events.join("\n")
    );
}
