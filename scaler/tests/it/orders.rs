//! Drain orders: given until followed, and taken back until that is followed.

use tidegate_control::{Observation, ProxyObservation, Seen, WorkerObservation};
use tidegate_protocol::Order;
use tidegate_scaler::orders::{Due, Orders};

/// What a proxy reports: nothing, or its workers and whether each drains.
type Report<'a> = Option<&'a [(&'a str, bool)]>;

fn observation(reports: &[(&str, Report)]) -> Observation {
    let described = |(id, draining): &(&str, bool)| WorkerObservation {
        id: (*id).to_owned(),
        ready: true,
        draining: *draining,
        slots: 4,
        permits: 0,
        elsewhere: 0,
        beat_age_ms: 0,
    };
    let proxies = reports.iter().map(|(source, report)| ProxyObservation {
        source: (*source).to_owned(),
        seen: report.map(|workers| Seen {
            workers: workers.iter().map(described).collect(),
            ..Seen::default()
        }),
    });
    Observation {
        proxies: proxies.collect(),
        ..Observation::default()
    }
}

fn due(proxy: &str, order: Order) -> Due {
    Due {
        proxy: proxy.to_owned(),
        worker: "w-1".to_owned(),
        order,
    }
}

fn due_of_w1(orders: &mut Orders, seen: &Observation, draining: &[String]) -> Vec<Due> {
    orders.due(seen, draining, &[&"w-1".to_owned()])
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
    let found = due_of_w1(&mut orders, &seen, &draining);
    assert_eq!(found, [due("a", Order::Drain)]);
    assert_eq!(due_of_w1(&mut orders, &seen, &[]), []);
}

#[test]
fn an_undrain_is_due_until_the_worker_is_ready_at_every_proxy() {
    let mut orders = Orders::default();
    orders.undrain("w-1");
    let (ready, draining) = (Some(&[("w-1", false)][..]), Some(&[("w-1", true)][..]));
    let (a, b) = (due("a", Order::Undrain), due("b", Order::Undrain));
    for (at_a, at_b, expected) in [
        (draining, None, vec![a.clone()]),
        (draining, None, vec![a.clone()]),
        // A proxy that has just started knows no worker.
        (ready, Some(&[][..]), vec![]),
        (ready, draining, vec![b]),
        (draining, ready, vec![a]),
        (ready, ready, vec![]),
        (draining, draining, vec![]),
    ] {
        let seen = observation(&[("a", at_a), ("b", at_b)]);
        assert_eq!(due_of_w1(&mut orders, &seen, &[]), expected);
    }
}

#[test]
fn an_undrain_is_dropped_with_its_member_or_when_it_shall_end_after_all() {
    let seen = observation(&[("a", Some(&[("w-1", true)]))]);
    let mut orders = Orders::default();
    orders.undrain("w-1");
    assert_eq!(orders.due(&seen, &[], &[]), []);
    assert_eq!(due_of_w1(&mut orders, &seen, &[]), []);
    orders.undrain("w-1");
    orders.ends("w-1");
    assert_eq!(due_of_w1(&mut orders, &seen, &["w-1".to_owned()]), []);
}
