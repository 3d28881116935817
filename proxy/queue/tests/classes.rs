//! Classes: their order, what the late ones leave free, and that none starves; costs and tokens.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_queue::{
    Ask, Capacity, Class, ClassConfig, Grant, Moment, Outcome, Queue, QueueConfig, Refusal, Usage,
};

const INTERACTIVE: Class = Class(0);
const DEFAULT: Class = Class(1);
const BATCH: Class = Class(2);

fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

fn three_classes() -> QueueConfig {
    let class = |name: &str, ageing, share, headroom| ClassConfig {
        name: name.into(),
        ageing: ms(ageing),
        share,
        headroom,
        ..ClassConfig::default()
    };
    QueueConfig {
        classes: vec![
            class("interactive", 0, 0.0, 0.0),
            class("default", 1_000, 0.2, 0.0),
            class("batch", 5_000, 0.1, 0.25),
        ],
        ..QueueConfig::default()
    }
}

fn queue_with(slots: u32, tokens: Option<u64>) -> Queue {
    let mut queue = Queue::new(three_classes());
    let endpoint = queue.endpoints_mut().add();
    let capacity = Capacity { slots, tokens };
    (queue.endpoints_mut()).update(endpoint, capacity, Usage::default(), true);
    queue
}

fn ask(now: Moment, class: Class, cost: u64) -> Ask {
    Ask {
        class,
        cost,
        ..Ask::new(now, now + ms(600_000))
    }
}

fn hand_out_all(queue: &mut Queue, now: Moment) -> Vec<Grant> {
    std::iter::from_fn(|| queue.hand_out(now)).collect()
}

/// Keeps all three classes waiting on one slot for `count` services of `ms(10)`; says how many of
/// each class were served.
fn served_under_pressure(count: u64, cost: impl Fn(Class) -> u64) -> BTreeMap<Class, u64> {
    let mut queue = queue_with(1, None);
    let mut class_of = BTreeMap::new();
    let mut arrive = |queue: &mut Queue, now, class| {
        let ticket = queue.arrive(now, ask(now, class, cost(class)));
        class_of.insert(ticket.expect("there is room"), class);
    };
    for class in [INTERACTIVE, DEFAULT, BATCH] {
        (0..1_000).for_each(|_| arrive(&mut queue, ms(0), class));
    }
    let mut served = BTreeMap::new();
    let mut tickets = Vec::new();
    for step in 0..count {
        let now = ms(10 * step);
        let grant = queue.hand_out(now).expect("someone waits for the slot");
        tickets.push((now, grant.ticket));
        queue.end(now + ms(10), grant.ticket, Outcome::Answered);
        let class = class_of[&grant.ticket];
        *served.entry(class).or_default() += 1;
        let ticket = queue.arrive(now, ask(now, class, cost(class)));
        class_of.insert(ticket.expect("there is room"), class);
    }
    served
}

#[test]
fn classes_go_in_order_and_each_is_first_come_first_served() {
    let mut queue = queue_with(1, None);
    let mut arrive = |at, class| {
        let ticket = queue.arrive(ms(at), ask(ms(at), class, 1));
        ticket.expect("there is room")
    };
    let batch = arrive(0, BATCH);
    let first = arrive(1, DEFAULT);
    let second = arrive(2, DEFAULT);
    let interactive = arrive(3, INTERACTIVE);
    let mut order = Vec::new();
    for step in 4..8 {
        let grant = queue.hand_out(ms(step)).expect("a slot is free");
        order.push(grant.ticket);
        queue.end(ms(step), grant.ticket, Outcome::Answered);
    }
    assert_eq!(order, [interactive, first, second, batch]);
    let signal = queue.signal(ms(9), "m");
    let by_class: Vec<_> = (signal.classes.iter())
        .map(|class| (class.class.as_str(), class.answered_total))
        .collect();
    assert_eq!(
        by_class,
        [("interactive", 1), ("default", 2), ("batch", 1)],
        "each class is counted by itself"
    );
    assert_eq!((signal.answered_total, signal.wait.count()), (4, 4));
    let only = signal.of_class("default").expect("it had requests");
    assert_eq!((only.answered_total, only.latency.count()), (2, 2));
    assert_eq!(signal.of_class("bulk"), None);
}

#[test]
fn no_class_starves_and_each_gets_its_share_of_the_work() {
    let served = served_under_pressure(10_000, |_| 1);
    let share = |class| served.get(&class).map_or(0.0, |n: &u64| *n as f64 / 1e4);
    // Batch earns a tenth of what the others get, 1 : 10, and default a fifth of interactive; the
    // first seconds are without them.
    assert!((0.08..=0.092).contains(&share(BATCH)), "{served:?}");
    assert!((0.14..=0.155).contains(&share(DEFAULT)), "{served:?}");
}

#[test]
fn shares_are_of_the_cost_and_not_of_the_number() {
    let served = served_under_pressure(20_000, |class| if class == BATCH { 10 } else { 1 });
    let of = |class| *served.get(&class).unwrap_or(&0) as f64;
    let cost = of(INTERACTIVE) + of(DEFAULT) + 10.0 * of(BATCH);
    let batch = 10.0 * of(BATCH) / cost;
    assert!((0.08..=0.092).contains(&batch), "{batch}: {served:?}");
}

#[test]
fn a_class_with_headroom_leaves_slots_free_but_not_all() {
    let mut queue = queue_with(8, None);
    for _ in 0..10 {
        queue.arrive(ms(0), ask(ms(0), BATCH, 1)).expect("room");
    }
    assert_eq!(hand_out_all(&mut queue, ms(0)).len(), 6, "a fourth is free");
    for _ in 0..2 {
        queue
            .arrive(ms(1), ask(ms(1), INTERACTIVE, 1))
            .expect("room");
    }
    assert_eq!(hand_out_all(&mut queue, ms(1)).len(), 2, "for others");
    let mut queue = queue_with(1, None);
    queue.arrive(ms(0), ask(ms(0), BATCH, 1)).expect("room");
    assert_eq!(hand_out_all(&mut queue, ms(0)).len(), 1, "the only slot");
}

#[test]
fn work_that_waited_for_long_is_done_although_the_fleet_is_never_idle() {
    let mut queue = queue_with(4, None);
    let batch = queue.arrive(ms(0), ask(ms(0), BATCH, 1)).expect("room");
    let mut running = Vec::new();
    let mut at = None;
    // Three slots are always taken and the fourth is left free, by interactive requests alone.
    for step in 0..2_000 {
        let now = ms(10 * step);
        if running.len() < 4 {
            let ticket = queue.arrive(now, ask(now, INTERACTIVE, 1));
            running.push(ticket.expect("room"));
        }
        for grant in hand_out_all(&mut queue, now) {
            if grant.ticket == batch {
                at.get_or_insert(now);
            }
        }
        if running.len() == 4 {
            queue.end(now, running.remove(0), Outcome::Answered);
        }
    }
    let at = at.expect("it was handed out");
    assert!(at <= ms(5_300), "{at:?}: 5 s of ageing and ten requests");
}

#[test]
fn each_class_has_its_own_limit_and_a_later_one_waits_for_those_before_it() {
    let mut config = three_classes();
    config.classes[2].waiting = 2;
    let mut queue = Queue::new(config);
    let endpoint = queue.endpoints_mut().add();
    let capacity = Capacity::of_slots(1);
    (queue.endpoints_mut()).update(endpoint, capacity, Usage::default(), true);
    let first = queue.arrive(ms(0), ask(ms(0), DEFAULT, 1)).expect("room");
    hand_out_all(&mut queue, ms(0));
    queue.end(ms(100), first, Outcome::Answered);
    for class in [DEFAULT, DEFAULT, DEFAULT, BATCH, BATCH] {
        queue.arrive(ms(100), ask(ms(100), class, 1)).expect("room");
    }
    hand_out_all(&mut queue, ms(100));
    let refused = queue.arrive(ms(100), ask(ms(100), BATCH, 1));
    let later = Refusal::Full {
        retry_after: ms(300),
    };
    assert_eq!(refused, Err(later), "after the two that wait before it");
    queue
        .arrive(ms(100), ask(ms(100), INTERACTIVE, 1))
        .expect("room");
    let hasty = Ask {
        deadline: ms(350),
        ..ask(ms(100), INTERACTIVE, 1)
    };
    let late = Ask {
        class: DEFAULT,
        ..hasty
    };
    assert!(
        queue.arrive(ms(100), late).is_err(),
        "two interactive go before"
    );
    assert!(
        queue.arrive(ms(100), hasty).is_err(),
        "one does, and runs 100 ms"
    );
}

#[test]
fn tokens_are_a_limit_beside_slots_and_nobody_passes_one_that_does_not_fit() {
    let mut queue = queue_with(8, Some(100));
    let arrive = |queue: &mut Queue, cost| {
        let ticket = queue.arrive(ms(0), ask(ms(0), DEFAULT, cost));
        ticket.expect("there is room")
    };
    let small = arrive(&mut queue, 60);
    let large = arrive(&mut queue, 70);
    arrive(&mut queue, 10);
    assert_eq!(hand_out_all(&mut queue, ms(0)).len(), 1);
    queue.end(ms(1), small, Outcome::Answered);
    let granted = hand_out_all(&mut queue, ms(1));
    assert_eq!(granted.len(), 2, "70 and 10 of 100");
    assert_eq!(granted[0].ticket, large);
    let whole = arrive(&mut queue, 1_000);
    assert!(hand_out_all(&mut queue, ms(2)).is_empty());
    granted
        .iter()
        .for_each(|grant| queue.end(ms(3), grant.ticket, Outcome::Answered));
    let granted = hand_out_all(&mut queue, ms(3));
    assert_eq!(granted.len(), 1, "more than the capacity: alone");
    assert_eq!(granted[0].ticket, whole);
}
