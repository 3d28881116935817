//! How few instance-hours suffice: a lower bound for every policy, and a schedule made with hindsight
//! that comes close to it.
//!
//! # The bound
//!
//! [`lower_bound_hours`] bounds the bill of every policy that reaches the scenario's attainment on
//! these very requests. In the order of what is given away:
//!
//! 1. *Work.* A request that takes `s` seconds and arrives at `a` is worked on within
//!    `[a, a + slo]` if it is answered in time. So by time `t` no more work can be done than
//!    `E(t) = sum min(s, (t - a)+)`, and no less may be than
//!    `D(t) = sum min(s, (t - latest start)+)`: see [`work`].
//! 2. *Misses.* Of `N` arrivals at most `floor((1 - attainment) N)` may miss. Requests with
//!    `s > slo` miss whatever happens, and use most of that up. What remains, `B`, are requests
//!    that may be dropped. A policy does not know which requests are the long ones before they are
//!    done, so of those that never reach a worker only few are long ones: see [`budget`]. That step
//!    holds with probability 1 - 1e-6, all others always.
//! 3. *Time.* It is cut into buckets of `delta` seconds; `N_k` counts the workers that serve at any
//!    time in bucket `k`, which is generous. A worker that serves for `x` seconds touches buckets
//!    of `x + 2 delta` seconds in all (one at the start, `x + delta`), so
//!    `bill >= delta sum N_k + (boot - 2 delta) launches - delta first`, where `boot` is the
//!    shortest boot time, and launches are at least the increments of `N`.
//! 4. *Rounding.* With work in units of `slots x delta`, bucket `k` takes `N_k` units. Rounding the
//!    work done up to whole units keeps every schedule feasible when `E` and `D` are
//!    rounded up too.
//! 5. *Minimum.* What is left is a shortest path over (workers, backlog), with dropping at a price
//!    per unit. By weak duality its length less price times budget is a lower bound at any price
//!    from 0 on; the best price is searched: see [`program`].
//!
//! Where no policy can reach the attainment at all, the figure bounds nothing.

mod budget;
mod oracle;
mod program;
mod work;

pub use oracle::oracle;

use crate::sim::Scenario;
use crate::trace::Demand;
use program::Program;
use work::Work;

/// Buckets are a fourth of the shortest boot, and no longer than this.
const LONGEST_BUCKET_S: f64 = 2.5;

/// With buckets shorter than this the program takes too long; the fluid bound is used alone.
const SHORTEST_BUCKET_S: f64 = 0.5;

/// Instance-hours that every policy needs that reaches the scenario's attainment on this demand
/// and seed.
pub fn lower_bound_hours(scenario: &Scenario, demand: &Demand, seed: u64) -> f64 {
    let shortest_boot_s = scenario.lead_time.as_secs_f64() * (1.0 - scenario.lead_spread);
    let bucket_s = (shortest_boot_s / 4.0).clamp(SHORTEST_BUCKET_S, LONGEST_BUCKET_S);
    let work = Work::of(scenario, demand, seed, bucket_s);
    let spare_s = budget::droppable_s(scenario, &work);
    let fluid_s = (work.due_s() - spare_s).max(0.0) / f64::from(scenario.slots);
    let launch_s = shortest_boot_s - 2.0 * bucket_s;
    let program_s = match launch_s >= 0.0 {
        true => Program::new(scenario, &work, launch_s).bound_s(spare_s, first(scenario, demand)),
        false => 0.0,
    };
    fluid_s.max(program_s) / 3600.0
}

fn first(scenario: &Scenario, demand: &Demand) -> u32 {
    scenario.first_workers(demand)
}
