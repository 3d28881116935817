//! The line against a plain model of it, and the rules that no schedule may break.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tidegate_line::{Ask, Grant, Line, LineConfig, Moment, Outcome, Refusal, SeatId, Ticket};

fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

fn ask(now: Moment) -> Ask {
    Ask {
        arrived: now,
        deadline: now + ms(60_000),
        bytes: 10,
    }
}

fn line_with(config: LineConfig, slots: &[u32]) -> (Line, Vec<SeatId>) {
    let mut line = Line::new(config);
    let seats = slots.iter().map(|slots| {
        let seat = line.seats_mut().add();
        line.seats_mut().update(seat, *slots, 0, true);
        seat
    });
    let seats = seats.collect();
    (line, seats)
}

fn hand_out_all(line: &mut Line, now: Moment) -> Vec<Grant> {
    std::iter::from_fn(|| line.hand_out(now)).collect()
}

#[test]
fn the_least_busy_worker_by_share_is_first_and_the_oldest_request_is_next() {
    let (mut line, seats) = line_with(LineConfig::default(), &[2, 4]);
    let tickets: Vec<_> = (0..7)
        .map(|_| line.arrive(ms(0), ask(ms(0))).expect("there is room"))
        .collect();
    let grants = hand_out_all(&mut line, ms(0));
    let order: Vec<_> = grants.iter().map(|grant| grant.ticket).collect();
    assert_eq!(order, tickets[..6]);
    let on: Vec<_> = grants.iter().map(|grant| grant.seat).collect();
    let (a, b) = (seats[0], seats[1]);
    assert_eq!(on, [a, b, b, a, b, b], "shares 0/2 0/4 1/4 1/2=2/4 3/4");
    line.end(ms(5), grants[3].ticket, Outcome::Answered);
    let next = line.hand_out(ms(5)).expect("a slot is free");
    assert_eq!((next.ticket, next.seat), (tickets[6], a));
}

#[test]
fn a_request_that_comes_back_is_first_again_and_no_wait_is_counted_twice() {
    let (mut line, seats) = line_with(LineConfig::default(), &[1, 1]);
    let first = line.arrive(ms(0), ask(ms(0))).expect("there is room");
    let grant = line.hand_out(ms(0)).expect("a slot is free");
    let other = line.arrive(ms(1), ask(ms(1))).expect("there is room");
    line.hand_out(ms(1)).expect("a slot is free");
    let later = line.arrive(ms(2), ask(ms(2))).expect("there is room");
    line.seats_mut().update(grant.seat, 1, 0, false);
    assert!(line.retry(first));
    assert_eq!(line.hand_out(ms(3)), None, "the other worker is busy");
    line.end(ms(4), other, Outcome::Answered);
    let again = line.hand_out(ms(4)).expect("a slot is free");
    assert_eq!((again.ticket, again.seat), (first, seats[1]));
    line.end(ms(5), first, Outcome::Answered);
    assert_eq!(line.hand_out(ms(5)).map(|grant| grant.ticket), Some(later));
    let signal = line.signal(ms(5), "m");
    assert_eq!((signal.retries_total, signal.answered_total), (1, 2));
    assert_eq!((signal.wait.count(), signal.latency.count()), (3, 2));
}

#[test]
fn a_full_line_says_when_the_next_place_comes_free() {
    let config = LineConfig {
        waiting: 2,
        ..LineConfig::default()
    };
    let (mut line, _) = line_with(config, &[2]);
    let served = line.arrive(ms(0), ask(ms(0))).expect("there is room");
    hand_out_all(&mut line, ms(0));
    line.end(ms(1000), served, Outcome::Answered);
    for _ in 0..4 {
        line.arrive(ms(2000), ask(ms(2000))).expect("there is room");
        hand_out_all(&mut line, ms(2000));
    }
    let refused = |line: &mut Line| match line.arrive(ms(2400), ask(ms(2400))) {
        Err(Refusal::Full { retry_after }) => retry_after,
        other => panic!("the line holds its two requests: {other:?}"),
    };
    assert_eq!(refused(&mut line), ms(600), "both slots free up at 3000");
    assert_eq!(refused(&mut line), ms(600));
    assert_eq!(
        refused(&mut line),
        ms(1600),
        "the third place comes a service later"
    );
}

#[test]
fn a_deadline_that_cannot_be_met_is_refused_and_nothing_is_without_a_worker() {
    let (mut line, seats) = line_with(LineConfig::default(), &[1]);
    let served = line.arrive(ms(0), ask(ms(0))).expect("there is room");
    hand_out_all(&mut line, ms(0));
    line.end(ms(1000), served, Outcome::Answered);
    line.arrive(ms(1000), ask(ms(1000))).expect("there is room");
    hand_out_all(&mut line, ms(1000));
    let hasty = Ask {
        arrived: ms(1000),
        deadline: ms(2500),
        bytes: 0,
    };
    let late = Refusal::TooLate {
        retry_after: ms(500),
    };
    assert_eq!(line.arrive(ms(1000), hasty), Err(late));
    line.seats_mut().update(seats[0], 1, 0, false);
    assert!(line.arrive(ms(1000), hasty).is_ok());
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

/// What a line must be at every moment, kept by plain means.
#[derive(Default)]
struct Model {
    waiting: Vec<Ticket>,
    running: BTreeMap<Ticket, SeatId>,
    seats: BTreeMap<SeatId, (u32, u32, bool)>,
}

impl Model {
    fn used(&self, seat: SeatId) -> u32 {
        self.running.values().filter(|on| **on == seat).count() as u32
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
        let (slots, elsewhere, taking) = self.seats[&grant.seat];
        assert!(
            taking && self.used(grant.seat) + elsewhere < slots,
            "slots are hard"
        );
        self.waiting.retain(|ticket| *ticket != grant.ticket);
        self.running.insert(grant.ticket, grant.seat);
    }

    fn back(&mut self, ticket: Ticket) {
        if self.running.remove(&ticket).is_some() {
            self.waiting.push(ticket);
        }
    }

    fn check(&self, line: &Line) {
        assert_eq!(line.waiting(), self.waiting.len());
        assert_eq!(line.in_flight(), self.running.len());
        for seat in self.seats.keys() {
            assert_eq!(line.seats().permits(*seat), self.used(*seat));
        }
        let free = |(seat, (slots, elsewhere, taking)): (&SeatId, &(u32, u32, bool))| {
            *taking && self.used(*seat) + elsewhere < *slots
        };
        let idle = self.seats.iter().any(free);
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
        let config = LineConfig { waiting: 8, ..LineConfig::default() };
        let (mut line, seats) = line_with(config, &[2, 3]);
        let mut model = Model::default();
        seats.iter().zip([2, 3]).for_each(|(seat, slots)| {
            model.seats.insert(*seat, (slots, 0, true));
        });
        let mut ended = 0;
        for (at, step) in steps.into_iter().enumerate() {
            let now = ms(at as u64 * 7);
            let pick = |at: usize| { let all = model.all(); all.get(at % all.len().max(1)).copied() };
            match step {
                Step::Arrive => if let Ok(ticket) = line.arrive(now, ask(now)) {
                    model.waiting.push(ticket);
                },
                Step::End(at, how) => if let Some(ticket) = pick(at) {
                    let outcomes = [Outcome::Answered, Outcome::Failed, Outcome::Expired, Outcome::Aborted];
                    line.end(now, ticket, outcomes[how as usize]);
                    line.end(now, ticket, Outcome::Failed);
                    model.waiting.retain(|waiting| *waiting != ticket);
                    model.running.remove(&ticket);
                    ended += 1;
                },
                Step::PutBack(at) => if let Some(ticket) = pick(at) {
                    line.put_back(ticket);
                    model.back(ticket);
                },
                Step::Retry(at) => if let Some(ticket) = pick(at)
                    && line.retry(ticket) {
                    model.back(ticket);
                },
                Step::Resize(at, slots, elsewhere, taking) => {
                    let seat = seats[at % seats.len()];
                    line.seats_mut().update(seat, slots, elsewhere, taking);
                    model.seats.insert(seat, (slots, elsewhere, taking));
                }
            }
            hand_out_all(&mut line, now).into_iter().for_each(|grant| model.granted(grant));
            model.check(&line);
        }
        let signal = line.signal(ms(10_000), "m");
        let over = signal.answered_total + signal.failed_total + signal.expired_total + signal.aborted_total;
        prop_assert_eq!(over, ended);
        prop_assert_eq!(signal.arrivals_total, over + signal.shed_total + signal.waiting + signal.in_flight);
        prop_assert_eq!(signal.latency.count(), over + signal.shed_total);
        prop_assert_eq!(signal.waiting_bytes, signal.waiting * 10);
    }
}
