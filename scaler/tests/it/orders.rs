//! Drain orders: given until followed, and taken back once.

use tidegate_control::{Observation, ProxySight, Seen, WorkerSight};
use tidegate_scaler::orders::{Due, Orders};
use tidegate_wire::Order;

/// What a proxy reports: nothing, or its workers and whether each drains.
type Report<'a> = Option<&'a [(&'a str, bool)]>;

fn observation(reports: &[(&str, Report)]) -> Observation {
    let sight = |(id, draining): &(&str, bool)| WorkerSight {
        id: (*id).to_owned(),
        ready: true,
        draining: *draining,
        permits: 0,
        elsewhere: 0,
        beat_age_ms: 0,
    };
    let proxies = reports.iter().map(|(source, report)| ProxySight {
        source: (*source).to_owned(),
        seen: report.map(|workers| Seen {
            workers: workers.iter().map(sight).collect(),
            ..Seen::default()
        }),
    });
    Observation {
        proxies: proxies.collect(),
    }
}

fn due(proxy: &str, order: Order) -> Due {
    Due {
        proxy: proxy.to_owned(),
        worker: "w-1".to_owned(),
        order,
    }
}

#[test]
fn a_drain_is_due_where_it_is_not_followed_yet() {
    let mut orders = Orders::default();
    let draining = ["w-1".to_owned()];
    let seen = observation(&[
        ("a", Some(&[("w-1", false)])),
        ("b", Some(&[("w-1", true)])),
        ("c", None),
        ("d", Some(&[])),
    ]);
    assert_eq!(orders.due(&seen, &draining), [due("a", Order::Drain)]);
    assert_eq!(orders.due(&seen, &[]), []);
}

#[test]
fn an_undrain_is_due_until_each_proxy_has_accepted_it() {
    let mut orders = Orders::default();
    orders.undrain("w-1", &["a".to_owned(), "b".to_owned()]);
    let seen = observation(&[("a", Some(&[("w-1", true)])), ("b", None)]);
    assert_eq!(orders.due(&seen, &[]), [due("a", Order::Undrain)]);
    orders.accepted(&due("a", Order::Undrain));
    assert_eq!(orders.due(&seen, &[]), []);
    let seen = observation(&[("a", Some(&[("w-1", true)])), ("b", Some(&[("w-1", true)]))]);
    assert_eq!(orders.due(&seen, &[]), [due("b", Order::Undrain)]);
}

#[test]
fn an_undrain_is_dropped_with_its_worker_or_when_it_shall_drain_after_all() {
    let mut orders = Orders::default();
    orders.undrain("w-1", &["a".to_owned()]);
    assert_eq!(orders.due(&observation(&[("a", Some(&[]))]), &[]), []);
    let seen = observation(&[("a", Some(&[("w-1", true)]))]);
    assert_eq!(orders.due(&seen, &[]), []);
    orders.undrain("w-1", &["a".to_owned()]);
    orders.drain("w-1");
    assert_eq!(orders.due(&seen, &["w-1".to_owned()]), []);
}
