//! Notices in the log: each when its condition begins and ends, not at every tick.

use std::collections::BTreeSet;

use tidegate_control::{Decision, Guard};

use crate::event::{Event, EventSink};
use crate::metrics;
use crate::proxies::{ProxyFault, Reply};

/// A condition that was reported and lasts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    FleetUnknown,
    ClockBehind,
    CoresHeld,
    LaunchFailed,
    StartsFail,
    HeartbeatsLost,
    LedgerFailed,
    LearnedUnkept,
    LeaseUnreached,
    Watches,
    ProxySilent(String),
    OrderFailed(String),
    /// A dry run would do this.
    WouldDo(String),
}

pub struct Notices {
    events: Box<dyn EventSink>,
    lasting: BTreeSet<Condition>,
    /// As of the last tick.
    proxies: BTreeSet<String>,
}

impl Notices {
    pub fn new(events: Box<dyn EventSink>) -> Notices {
        Notices {
            events,
            lasting: BTreeSet::new(),
            proxies: BTreeSet::new(),
        }
    }

    pub fn emit(&mut self, event: Event) {
        metrics::event(&event);
        self.events.emit(&event);
    }

    /// Reports the event unless its condition was reported and lasts.
    pub fn begins(&mut self, condition: Condition, event: Event) {
        if self.lasting.insert(condition) {
            self.emit(event);
        }
    }

    /// Whether the condition had begun, and is over with this.
    pub fn ends(&mut self, condition: &Condition) -> bool {
        self.lasting.remove(condition)
    }

    pub fn lasts(&self, condition: &Condition) -> bool {
        self.lasting.contains(condition)
    }

    pub fn proxies(&mut self, replies: &[Reply]) {
        self.roll_call(replies);
        for Reply { source, signal } in replies {
            let (proxy, condition) = (source.clone(), Condition::ProxySilent(source.clone()));
            match signal {
                Ok(_) if self.ends(&condition) => self.emit(Event::ProxyAnswers { proxy }),
                Ok(_) => {}
                Err(fault) => {
                    let why = fault.to_string();
                    self.begins(condition, Event::ProxySilent { proxy, why });
                }
            }
        }
    }

    /// Tells which proxies have come and gone since the last tick.
    fn roll_call(&mut self, replies: &[Reply]) {
        let now: BTreeSet<String> = replies.iter().map(|reply| reply.source.clone()).collect();
        let before = std::mem::replace(&mut self.proxies, now.clone());
        for proxy in before.difference(&now).cloned() {
            self.ends(&Condition::ProxySilent(proxy.clone()));
            self.ends(&Condition::OrderFailed(proxy.clone()));
            self.emit(Event::ProxyLeft { proxy });
        }
        let joined = now.difference(&before).filter(|_| !before.is_empty());
        joined.for_each(|proxy| {
            let proxy = proxy.clone();
            self.emit(Event::ProxyJoined { proxy });
        });
    }

    pub fn order(&mut self, proxy: &str, result: Result<(), ProxyFault>) {
        let condition = Condition::OrderFailed(proxy.to_owned());
        match result {
            Ok(()) => {
                self.ends(&condition);
            }
            Err(fault) => {
                let (proxy, why) = (proxy.to_owned(), fault.to_string());
                self.begins(condition, Event::OrderFailed { proxy, why });
            }
        }
    }

    /// A decision that is acted upon. That a worker which has drained is stopped is no news, nor
    /// is one more start while launches keep failing.
    pub fn decided(&mut self, decision: &Decision) {
        match decision.reason.guards.contains(&Guard::MassSilence) {
            true => self.begins(Condition::HeartbeatsLost, Event::HeartbeatsLost),
            false => drop(self.ends(&Condition::HeartbeatsLost)),
        }
        let action = &decision.action;
        let starts = action.launch as usize + action.replace.len();
        let is_retry = self.lasts(&Condition::StartsFail);
        let turns = action.undrain.len() + action.drain.len();
        if turns > 0 || (starts > 0 && !is_retry) {
            self.emit(Event::Decided(decision.clone()));
        }
    }

    /// A decision that is not acted upon, so that the next ticks decide the same again.
    pub fn would_do(&mut self, decision: &Decision) {
        let (from, to) = (decision.reason.from, decision.reason.to);
        let what = Condition::WouldDo(format!("{from} {to} {:?}", decision.action));
        self.lasting
            .retain(|other| !matches!(other, Condition::WouldDo(_)) || *other == what);
        if !decision.action.is_none() {
            self.begins(what, Event::WouldDo(decision.clone()));
        }
    }
}
