//! From raw signals to statistics: differences, restarts, missing and frozen proxies.

use std::time::Duration;

use tidegate_control::{Answer, Health, Measure, Metric, Observer, Statistic, Window};
use tidegate_protocol::{ModelSignal, Signal};

use crate::stage::at;

/// A proxy that counts like a real one.
#[derive(Clone)]
struct Proxy {
    source: &'static str,
    signal: Signal,
}

impl Proxy {
    fn new(source: &'static str) -> Proxy {
        let model = ModelSignal {
            model: "m".to_owned(),
            ..ModelSignal::default()
        };
        let signal = Signal {
            version: 1,
            proxy: "proxy".to_owned(),
            epoch: "first".to_owned(),
            now_ms: 1_000,
            models: vec![model],
            workers: Vec::new(),
        };
        Proxy { source, signal }
    }

    fn model(&mut self) -> &mut ModelSignal {
        &mut self.signal.models[0]
    }

    /// A second goes by with these arrivals, each answered after `ms`.
    fn second(&mut self, arrivals: u64, ms: u64) {
        self.signal.now_ms += 1_000;
        self.model().arrivals_total += arrivals;
        for _ in 0..arrivals {
            self.model().latency.record(Duration::from_millis(ms));
        }
    }

    fn restart(&mut self) {
        *self = Proxy::new(self.source);
        self.signal.epoch = "second".to_owned();
    }

    fn answer(&self) -> Answer {
        Answer {
            source: self.source.to_owned(),
            signal: Some(self.signal.clone()),
        }
    }

    fn silence(&self) -> Answer {
        Answer {
            source: self.source.to_owned(),
            signal: None,
        }
    }
}

struct Watch {
    observer: Observer,
    window: Window,
    second: u64,
}

const SPAN: Duration = Duration::from_secs(10);

impl Watch {
    fn new() -> Watch {
        Watch {
            observer: Observer::default(),
            window: Window::new(SPAN, Duration::from_secs(5)),
            second: 0,
        }
    }

    fn tick(&mut self, answers: &[Answer]) {
        self.second += 1;
        let observation = self.observer.observe(answers);
        self.window.take(at(self.second), &observation);
    }

    fn measure(&self, metric: Metric, statistic: Statistic) -> Measure {
        self.window
            .measure(at(self.second), metric, statistic, SPAN)
    }

    #[track_caller]
    fn expect(&self, metric: Metric, statistic: Statistic, value: f64) {
        match self.measure(metric, statistic) {
            Measure::Value(found) if (found - value).abs() < 1e-9 => {}
            found => panic!("{metric:?} {statistic:?}: {found:?}, expected {value}"),
        }
    }
}

#[test]
fn rates_are_differences_over_the_seconds_that_were_watched() {
    let (mut watch, mut proxy) = (Watch::new(), Proxy::new("a"));
    proxy.second(1_000, 5);
    watch.tick(&[proxy.answer()]);
    assert_eq!(
        watch.measure(Metric::RequestRate, Statistic::Rate),
        Measure::Missing
    );
    for _ in 0..4 {
        proxy.second(6, 5);
        watch.tick(&[proxy.answer()]);
    }
    watch.expect(Metric::RequestRate, Statistic::Rate, 6.0);
}

#[test]
fn what_came_during_an_outage_is_spread_over_the_outage() {
    let (mut watch, mut proxy) = (Watch::new(), Proxy::new("a"));
    let mut steady = Proxy::new("b");
    for second in 0..90 {
        proxy.second(6, 5);
        steady.second(4, 5);
        let is_out = (20..80).contains(&second);
        let answer = if is_out {
            proxy.silence()
        } else {
            proxy.answer()
        };
        watch.tick(&[answer, steady.answer()]);
        if second >= 80 {
            watch.expect(Metric::RequestRate, Statistic::Rate, 10.0);
        }
    }
}

#[test]
fn a_scaler_that_was_away_does_not_take_that_for_calm() {
    let (mut watch, mut proxy) = (Watch::new(), Proxy::new("a"));
    for _ in 0..5 {
        proxy.second(6, 5);
        watch.tick(&[proxy.answer()]);
    }
    watch.observer = Observer::default();
    watch.second += 4;
    for _ in 0..3 {
        proxy.second(6, 5);
        watch.tick(&[proxy.answer()]);
        watch.expect(Metric::RequestRate, Statistic::Rate, 6.0);
    }
}

#[test]
fn a_missed_poll_loses_nothing() {
    let (mut watch, mut proxy) = (Watch::new(), Proxy::new("a"));
    watch.tick(&[proxy.answer()]);
    proxy.second(6, 5);
    watch.tick(&[proxy.silence()]);
    assert_eq!(
        watch.window.health(),
        &Health::Partial {
            missing: vec!["a".to_owned()]
        }
    );
    proxy.second(6, 5);
    watch.tick(&[proxy.answer()]);
    watch.expect(Metric::RequestRate, Statistic::Rate, 6.0);
}

#[test]
fn a_restarted_proxy_counts_from_zero() {
    let (mut watch, mut proxy) = (Watch::new(), Proxy::new("a"));
    proxy.second(500, 5);
    watch.tick(&[proxy.answer()]);
    proxy.restart();
    proxy.second(20, 40);
    watch.tick(&[proxy.answer()]);
    watch.expect(Metric::RequestRate, Statistic::Rate, 20.0);
    match watch.measure(Metric::Latency, Statistic::Max) {
        Measure::Value(seconds) => assert!((0.040..0.042).contains(&seconds), "{seconds}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn several_proxies_add_up_and_the_oldest_wait_is_the_oldest_of_all() {
    let mut watch = Watch::new();
    let (mut a, mut b) = (Proxy::new("a"), Proxy::new("b"));
    a.model().waiting = 3;
    b.model().waiting = 5;
    a.model().oldest_waiting_ms = Some(700);
    b.model().oldest_waiting_ms = Some(1_500);
    watch.tick(&[a.answer(), b.answer()]);
    assert_eq!(watch.window.health(), &Health::Complete);
    watch.expect(Metric::QueueLength, Statistic::Mean, 8.0);
    watch.expect(Metric::OldestWait, Statistic::Max, 1.5);
}

#[test]
fn a_missing_proxy_counts_as_it_last_was_until_that_is_stale() {
    let mut watch = Watch::new();
    let (mut a, b) = (Proxy::new("a"), Proxy::new("b"));
    a.model().waiting = 3;
    watch.tick(&[a.answer(), b.answer()]);
    let mut b = b;
    for _ in 0..5 {
        b.second(0, 0);
        watch.tick(&[a.silence(), b.answer()]);
    }
    watch.expect(Metric::QueueLength, Statistic::Mean, 3.0);
    b.second(0, 0);
    watch.tick(&[a.silence(), b.answer()]);
    watch.expect(Metric::QueueLength, Statistic::Max, 3.0);
    watch.expect(Metric::QueueLength, Statistic::Mean, 18.0 / 7.0);
}

#[test]
fn with_no_answer_for_too_long_nothing_is_known() {
    let (mut watch, proxy) = (Watch::new(), Proxy::new("a"));
    watch.tick(&[proxy.answer()]);
    for _ in 0..6 {
        watch.tick(&[proxy.silence()]);
    }
    assert_eq!(watch.window.health(), &Health::Blind);
    assert_eq!(
        watch.measure(Metric::QueueLength, Statistic::Mean),
        Measure::Missing
    );
}

#[test]
fn a_signal_that_stands_still_is_no_answer() {
    let (mut watch, proxy) = (Watch::new(), Proxy::new("a"));
    watch.tick(&[proxy.answer()]);
    watch.tick(&[proxy.answer()]);
    assert_eq!(
        watch.window.health(),
        &Health::Partial {
            missing: vec!["a".to_owned()]
        }
    );
}

#[test]
fn latency_is_of_the_window_and_of_the_oldest_while_none_ends() {
    let (mut watch, mut proxy) = (Watch::new(), Proxy::new("a"));
    watch.tick(&[proxy.answer()]);
    assert_eq!(
        watch.measure(Metric::Latency, Statistic::P95),
        Measure::Idle
    );
    proxy.second(100, 50);
    watch.tick(&[proxy.answer()]);
    assert!(matches!(
        watch.measure(Metric::Latency, Statistic::P95),
        Measure::Value(seconds) if (0.050..0.053).contains(&seconds)
    ));
    for _ in 0..10 {
        proxy.second(0, 0);
        proxy.model().oldest_running_ms = Some(9_000);
        watch.tick(&[proxy.answer()]);
    }
    watch.expect(Metric::Latency, Statistic::P95, 9.0);
}

#[test]
fn statistics_of_gauges_are_over_the_ticks_of_the_window() {
    let (mut watch, mut proxy) = (Watch::new(), Proxy::new("a"));
    for waiting in 1..=20 {
        proxy.second(0, 0);
        proxy.model().in_flight = waiting;
        watch.tick(&[proxy.answer()]);
    }
    watch.expect(Metric::InFlight, Statistic::Mean, 15.5);
    watch.expect(Metric::InFlight, Statistic::Max, 20.0);
    watch.expect(Metric::InFlight, Statistic::P95, 20.0);
}

#[test]
fn one_request_that_came_and_went_between_two_ticks_is_demand() {
    let (mut watch, mut proxy) = (Watch::new(), Proxy::new("a"));
    watch.tick(&[proxy.answer()]);
    assert_eq!(watch.window.demand(), 0);
    proxy.second(1, 300);
    watch.tick(&[proxy.answer()]);
    assert_eq!(watch.window.demand(), 1);
}
