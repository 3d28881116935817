//! The queue against a plain model of it, and the rules that no schedule may break.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tidegate_queue::{
    Ask, Capacity, ClassConfig, EndpointId, Grant, Moment, Outcome, Queue, QueueConfig, Refusal,
    RetryConfig, Ticket, Usage,
};

fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

fn ask(now: Moment) -> Ask {
    Ask {
        bytes: 10,
        ..Ask::new(now, now + ms(60_000))
    }
}

fn waiting_at_most(waiting: usize) -> QueueConfig {
    let class = ClassConfig {
        waiting,
        ..ClassConfig::default()
    };
    QueueConfig {
        classes: vec![class],
        ..QueueConfig::default()
    }
}

fn queue_with(config: QueueConfig, slots: &[u32]) -> (Queue, Vec<EndpointId>) {
    let mut queue = Queue::new(config);
    let endpoints = slots.iter().map(|slots| {
        let endpoint = queue.endpoints_mut().add();
        queue.endpoints_mut().update(
            endpoint,
            Capacity::of_slots(*slots),
            Usage::of_requests(0),
            true,
        );
        endpoint
    });
    let endpoints = endpoints.collect();
    (queue, endpoints)
}

fn hand_out_all(queue: &mut Queue, now: Moment) -> Vec<Grant> {
    std::iter::from_fn(|| queue.hand_out(now)).collect()
}

#[test]
fn the_least_busy_worker_by_share_is_first_and_the_oldest_request_is_next() {
    let (mut queue, endpoints) = queue_with(QueueConfig::default(), &[2, 4]);
    let tickets: Vec<_> = (0..7)
        .map(|_| queue.arrive(ms(0), ask(ms(0))).expect("there is room"))
        .collect();
    let grants = hand_out_all(&mut queue, ms(0));
    let order: Vec<_> = grants.iter().map(|grant| grant.ticket).collect();
    assert_eq!(order, tickets[..6]);
    let on: Vec<_> = grants.iter().map(|grant| grant.endpoint).collect();
    let (a, b) = (endpoints[0], endpoints[1]);
    assert_eq!(on, [a, b, b, a, b, b], "shares 0/2 0/4 1/4 1/2=2/4 3/4");
    queue.end(ms(5), grants[3].ticket, Outcome::Answered);
    let next = queue.hand_out(ms(5)).expect("a slot is free");
    assert_eq!((next.ticket, next.endpoint), (tickets[6], a));
}

#[test]
fn a_request_that_comes_back_is_first_again_and_no_wait_is_counted_twice() {
    let (mut queue, endpoints) = queue_with(QueueConfig::default(), &[1, 1]);
    let first = queue.arrive(ms(0), ask(ms(0))).expect("there is room");
    let grant = queue.hand_out(ms(0)).expect("a slot is free");
    let other = queue.arrive(ms(1), ask(ms(1))).expect("there is room");
    queue.hand_out(ms(1)).expect("a slot is free");
    let later = queue.arrive(ms(2), ask(ms(2))).expect("there is room");
    queue.endpoints_mut().update(
        grant.endpoint,
        Capacity::of_slots(1),
        Usage::of_requests(0),
        false,
    );
    assert!(queue.retry(first));
    assert_eq!(queue.hand_out(ms(3)), None, "the other worker is busy");
    queue.end(ms(4), other, Outcome::Answered);
    let again = queue.hand_out(ms(4)).expect("a slot is free");
    assert_eq!((again.ticket, again.endpoint), (first, endpoints[1]));
    queue.end(ms(5), first, Outcome::Answered);
    assert_eq!(queue.hand_out(ms(5)).map(|grant| grant.ticket), Some(later));
    let signal = queue.signal(ms(5), "m");
    assert_eq!((signal.retries_total, signal.answered_total), (1, 2));
    assert_eq!((signal.wait.count(), signal.latency.count()), (3, 2));
}

#[test]
fn a_full_queue_says_when_the_next_place_comes_free() {
    let config = waiting_at_most(2);
    let (mut queue, _) = queue_with(config, &[2]);
    let served = queue.arrive(ms(0), ask(ms(0))).expect("there is room");
    hand_out_all(&mut queue, ms(0));
    queue.end(ms(1000), served, Outcome::Answered);
    for _ in 0..4 {
        queue
            .arrive(ms(2000), ask(ms(2000)))
            .expect("there is room");
        hand_out_all(&mut queue, ms(2000));
    }
    let refused = |queue: &mut Queue| match queue.arrive(ms(2400), ask(ms(2400))) {
        Err(Refusal::Full { retry_after }) => retry_after,
        other => panic!("the queue holds its two requests: {other:?}"),
    };
    assert_eq!(refused(&mut queue), ms(600), "both slots free up at 3000");
    assert_eq!(refused(&mut queue), ms(600));
    assert_eq!(
        refused(&mut queue),
        ms(1600),
        "the third place comes a service later"
    );
}

#[test]
fn a_deadline_that_cannot_be_met_is_refused_and_nothing_is_without_a_worker() {
    let (mut queue, endpoints) = queue_with(QueueConfig::default(), &[1]);
    let served = queue.arrive(ms(0), ask(ms(0))).expect("there is room");
    hand_out_all(&mut queue, ms(0));
    queue.end(ms(1000), served, Outcome::Answered);
    queue
        .arrive(ms(1000), ask(ms(1000)))
        .expect("there is room");
    hand_out_all(&mut queue, ms(1000));
    let hasty = Ask::new(ms(1000), ms(2500));
    let late = Refusal::TooLate {
        retry_after: ms(500),
    };
    assert_eq!(queue.arrive(ms(1000), hasty), Err(late));
    queue.endpoints_mut().update(
        endpoints[0],
        Capacity::of_slots(1),
        Usage::of_requests(0),
        false,
    );
    assert!(queue.arrive(ms(1000), hasty).is_ok());
}

#[derive(Clone, Debug)]
enum Step {
    Arrive,
    End(usize, u8),
    PutBack(usize),
    Retry(usize),
    Resize(usize, u32, u32, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Arrive),
        3 => (any::<usize>(), 0..4u8).prop_map(|(at, how)| Step::End(at, how)),
        1 => any::<usize>().prop_map(Step::PutBack),
        1 => any::<usize>().prop_map(Step::Retry),
        1 => (any::<usize>(), 0..4u32, 0..2u32, any::<bool>())
            .prop_map(|(at, slots, elsewhere, taking)| Step::Resize(at, slots, elsewhere, taking)),
    ]
}

/// What a queue must be at every moment, kept by plain means.
#[derive(Default)]
struct Model {
    waiting: Vec<Ticket>,
    running: BTreeMap<Ticket, EndpointId>,
    endpoints: BTreeMap<EndpointId, (u32, u32, bool)>,
}

impl Model {
    fn used(&self, endpoint: EndpointId) -> u32 {
        self.running.values().filter(|on| **on == endpoint).count() as u32
    }

    fn all(&self) -> Vec<Ticket> {
        let running = self.running.keys().copied();
        self.waiting.iter().copied().chain(running).collect()
    }

    fn granted(&mut self, grant: Grant) {
        assert_eq!(
            Some(&grant.ticket),
            self.waiting.iter().min(),
            "the oldest is next"
        );
        let (slots, elsewhere, taking) = self.endpoints[&grant.endpoint];
        assert!(
            taking && self.used(grant.endpoint) + elsewhere < slots,
            "slots are hard"
        );
        self.waiting.retain(|ticket| *ticket != grant.ticket);
        self.running.insert(grant.ticket, grant.endpoint);
    }

    fn back(&mut self, ticket: Ticket) {
        if self.running.remove(&ticket).is_some() {
            self.waiting.push(ticket);
        }
    }

    fn check(&self, queue: &Queue) {
        assert_eq!(queue.waiting(), self.waiting.len());
        assert_eq!(queue.in_flight(), self.running.len());
        for endpoint in self.endpoints.keys() {
            assert_eq!(queue.endpoints().permits(*endpoint), self.used(*endpoint));
        }
        let free = |(endpoint, (slots, elsewhere, taking)): (&EndpointId, &(u32, u32, bool))| {
            *taking && self.used(*endpoint) + elsewhere < *slots
        };
        let idle = self.endpoints.iter().any(free);
        assert!(
            self.waiting.is_empty() || !idle,
            "no one waits while a slot is free"
        );
    }
}

proptest! {
    #[test]
    fn slots_are_hard_the_oldest_is_next_and_every_request_ends_once(
        steps in prop::collection::vec(step(), 1..200)
    ) {
        let config = waiting_at_most(8);
        let (mut queue, endpoints) = queue_with(config, &[2, 3]);
        let mut model = Model::default();
        endpoints.iter().zip([2, 3]).for_each(|(endpoint, slots)| {
            model.endpoints.insert(*endpoint, (slots, 0, true));
        });
        let mut ended = 0;
        for (at, step) in steps.into_iter().enumerate() {
            let now = ms(at as u64 * 7);
            let pick = |at: usize| { let all = model.all(); all.get(at % all.len().max(1)).copied() };
            match step {
                Step::Arrive => if let Ok(ticket) = queue.arrive(now, ask(now)) {
                    model.waiting.push(ticket);
                },
                Step::End(at, how) => if let Some(ticket) = pick(at) {
                    let outcomes = [Outcome::Answered, Outcome::Failed, Outcome::Expired, Outcome::Aborted];
                    queue.end(now, ticket, outcomes[how as usize]);
                    queue.end(now, ticket, Outcome::Failed);
                    model.waiting.retain(|waiting| *waiting != ticket);
                    model.running.remove(&ticket);
                    ended += 1;
                },
                Step::PutBack(at) => if let Some(ticket) = pick(at) {
                    queue.put_back(ticket);
                    model.back(ticket);
                },
                Step::Retry(at) => if let Some(ticket) = pick(at)
                    && queue.retry(ticket) {
                    model.back(ticket);
                },
                Step::Resize(at, slots, elsewhere, taking) => {
                    let endpoint = endpoints[at % endpoints.len()];
                    queue.endpoints_mut().update(endpoint, Capacity::of_slots(slots), Usage::of_requests(elsewhere), taking);
                    model.endpoints.insert(endpoint, (slots, elsewhere, taking));
                }
            }
            hand_out_all(&mut queue, now).into_iter().for_each(|grant| model.granted(grant));
            model.check(&queue);
        }
        let signal = queue.signal(ms(10_000), "m");
        let over = signal.answered_total + signal.failed_total + signal.expired_total + signal.aborted_total;
        prop_assert_eq!(over, ended);
        prop_assert_eq!(signal.arrivals_total, over + signal.shed_total + signal.waiting + signal.in_flight);
        prop_assert_eq!(signal.latency.count(), over + signal.shed_total);
        prop_assert_eq!(signal.waiting_bytes, signal.waiting * 10);
    }
}

/// Two endpoints of four slots that have answered a hundred requests each in 100 ms, with hedging.
fn hedging(burst: u32) -> (Queue, Vec<EndpointId>, Moment) {
    let config = QueueConfig {
        retry: RetryConfig {
            burst,
            hedge_after: Some(ms(50)),
            ..RetryConfig::default()
        },
        ..QueueConfig::default()
    };
    let (mut queue, endpoints) = queue_with(config, &[4, 4]);
    let mut now = ms(0);
    for _ in 0..100 {
        let tickets = [(); 8].map(|()| queue.arrive(now, ask(now)).expect("room"));
        while queue.hand_out(now).is_some() {}
        now += ms(100);
        for ticket in tickets {
            queue.end(now, ticket, Outcome::Answered);
        }
    }
    (queue, endpoints, now)
}

fn idempotent(now: Moment) -> Ask {
    Ask {
        idempotent: true,
        ..ask(now)
    }
}

#[test]
fn a_late_try_gets_a_second_one_of_another_endpoint_and_the_first_answer_counts() {
    let (mut queue, endpoints, now) = hedging(128);
    let ticket = queue.arrive(now, idempotent(now)).expect("room");
    let first = queue.hand_out(now).expect("a slot is free").endpoint;
    let after = queue.hedge_after(ticket).expect("both are known");
    assert!((ms(150)..ms(250)).contains(&after), "{after:?}");
    let late = now + after;
    let second = queue.hedge(late, ticket).expect("the other one is idle");
    assert_ne!(first, second);
    assert_eq!(queue.hedge(late, ticket), None, "two are enough");
    assert_eq!(
        endpoints
            .iter()
            .map(|id| queue.endpoints().permits(*id))
            .sum::<u32>(),
        2
    );
    queue.abandon(late, ticket, first);
    assert_eq!(queue.endpoints().permits(first), 0);
    queue.abandon(late, ticket, second);
    assert_eq!(queue.endpoints().permits(second), 1, "the last try stays");
    queue.end(late, ticket, Outcome::Answered);
    assert_eq!(queue.endpoints().free_slots(), 8);
}

#[test]
fn an_end_gives_both_tries_back() {
    let (mut queue, _, now) = hedging(128);
    let ticket = queue.arrive(now, idempotent(now)).expect("room");
    queue.hand_out(now).expect("a slot is free");
    queue.hedge(now + ms(300), ticket).expect("one is idle");
    queue.end(now + ms(400), ticket, Outcome::Aborted);
    assert_eq!(queue.endpoints().free_slots(), 8);
    assert_eq!(queue.in_flight(), 0);
}

#[test]
fn nothing_is_asked_twice_that_must_not_be_or_while_others_wait_or_without_budget() {
    let (mut queue, _, now) = hedging(128);
    let once = queue.arrive(now, ask(now)).expect("room");
    queue.hand_out(now).expect("a slot is free");
    assert_eq!(queue.hedge_after(once), None);
    assert_eq!(queue.hedge(now + ms(300), once), None);

    let tickets = [(); 8].map(|()| queue.arrive(now, idempotent(now)).expect("room"));
    while queue.hand_out(now).is_some() {}
    assert_eq!(queue.waiting(), 1);
    assert_eq!(queue.hedge(now + ms(300), tickets[0]), None, "one waits");

    let (mut queue, _, now) = hedging(0);
    let ticket = queue.arrive(now, idempotent(now)).expect("room");
    queue.hand_out(now).expect("a slot is free");
    assert!(queue.hedge_after(ticket).is_some());
    assert_eq!(queue.hedge(now + ms(300), ticket), None, "no retry is left");
}
