//! How many workers there shall be: the policy, what the proxies' signals come to, and the law
//! that decides.
//!
//! Pure: no clock, file, socket, thread or environment; `now` is an argument, and nothing iterates
//! over what has no order. The daemon and the simulator call the same [`Law::decide`].
//!
//! One tick: [`Observer::observe`] turns the proxies' raw signals into an [`Observation`],
//! [`Roster::update`] turns the fleet's members into a [`Fleet`], and [`Law::decide`] takes both.

pub mod chance;
pub mod record;
pub mod staffing;

mod boots;
mod breaker;
mod by_hand;
mod calendar;
mod decision;
mod fleet;
mod forecast;
mod law;
mod learned;
mod observe;
mod pace;
mod plan;
mod policy;
mod quantity;
mod supply;
mod tally;
mod terms;
mod time;
mod window;

pub use breaker::Breaker;
pub use by_hand::{Override, Size};
pub use decision::{Action, Ask, Basis, Decision, Guard, Reason, Replacement, WhyReplaced};
pub use fleet::{Fleet, Member, Roster, Stage, Worker};
pub use law::Law;
pub use learned::{BadLearned, Learned};
pub use observe::{Answer, Observation, Observer, ProxyObservation, Seen, WorkerObservation};
pub use policy::{
    Behaviour, Bounds, CostRules, FleetKind, FleetRules, ForecastRules, Formula, Metric, OnMissing,
    Policy, ScheduleRule, Select, SignalRule, Slo, Source, Statistic, Step, Target, TargetValue,
};
pub use quantity::{Quantity, Unit};
pub use tally::Tally;
pub use time::Time;
pub use window::{Health, Measure, Window};
