//! Who acts: in a table, in a file, and what is left to the next one.

use std::time::Duration;

use tidegate_control::{Action, Override, Size, Time};
use tidegate_scaler::lease::{
    CallOutcome, FileLease, Lease, LeaseChange, LeaseError, Memory, Shared, Table, Terms,
};

const DURATION: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_millis(800);

fn shared(table: &Table, owner: &str) -> Lease {
    let terms = Terms {
        duration: DURATION,
        every: EVERY,
    };
    let store = Box::new(table.clone());
    Lease::Shared(Shared::new(store, owner.to_owned(), terms))
}

fn holds(lease: &Lease) -> bool {
    lease.outlasts(Duration::ZERO)
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn taken(change: LeaseChange) -> Option<Memory> {
    match change {
        LeaseChange::Taken(left) => left.expect("it is read"),
        other => panic!("{other:?} instead of a lease"),
    }
}

fn memory_with(drained: &str) -> Memory {
    let mut memory = Memory::new();
    let since = Time::from_ms(1000);
    memory.draining.insert(drained.to_owned(), since);
    memory
}

#[tokio::test(start_paused = true)]
async fn of_two_one_has_it_and_the_other_watches() {
    let table = Table::new(TIMEOUT);
    let (mut one, mut two) = (shared(&table, "one"), shared(&table.caller(), "two"));
    assert_eq!(taken(one.renew(&Memory::new()).await), None);
    for _ in 0..60 {
        let none = Memory::new();
        let (first, second) = tokio::join!(one.renew(&none), two.renew(&none));
        assert!(matches!(
            (first, second),
            (LeaseChange::Same, LeaseChange::Same)
        ));
        assert!(holds(&one) && !holds(&two));
        pass(1).await;
    }
    assert_eq!(two.holder(), Some("one"));
    assert!(matches!(
        two.keep(&Memory::new()).await,
        Err(LeaseError::Lost)
    ));
}

#[tokio::test(start_paused = true)]
async fn one_that_died_is_followed_after_the_duration_and_not_before() {
    let table = Table::new(TIMEOUT);
    let (mut one, mut two) = (shared(&table, "one"), shared(&table.caller(), "two"));
    one.renew(&Memory::new()).await;
    one.keep(&memory_with("w-7")).await.expect("it is kept");
    // It is not called any more, as a dead process is not.
    for second in 0..30 {
        let change = two.renew(&Memory::new()).await;
        assert!(
            !(holds(&one) && holds(&two)),
            "two have it after {second} s"
        );
        if let LeaseChange::Taken(_) = change {
            assert_eq!(second, 11, "the first tick after 10.05 s");
            assert_eq!(taken(change), Some(memory_with("w-7")));
            return;
        }
        pass(1).await;
    }
    panic!("it was never taken");
}

#[tokio::test(start_paused = true)]
async fn ticks_that_come_a_little_early_renew_it_as_often() {
    let table = Table::new(TIMEOUT);
    let mut one = shared(&table, "one");
    let began = tokio::time::Instant::now();
    for tick in 0..60_u64 {
        // Each is a millisecond earlier than the one before should have it.
        let at = Duration::from_millis(60 + tick * 999);
        tokio::time::sleep_until(began + at).await;
        one.renew(&Memory::new()).await;
    }
    let writes = table.item().as_ref().map(|item| item.counter);
    assert_eq!(writes, Some(30), "one every two seconds");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_cut_off_stops_before_the_other_begins() {
    let table = Table::new(TIMEOUT);
    let (alone, other) = (table.caller(), table.caller());
    let (mut one, mut two) = (shared(&alone, "one"), shared(&other, "two"));
    one.renew(&Memory::new()).await;
    two.renew(&Memory::new()).await;
    alone.set_outcome(CallOutcome::NotArrived);
    let mut lost_at = None;
    for second in 0..30 {
        if let LeaseChange::Lost = one.renew(&Memory::new()).await {
            lost_at.get_or_insert(second);
        }
        let change = two.renew(&Memory::new()).await;
        assert!(
            !(holds(&one) && holds(&two)),
            "two have it after {second} s"
        );
        if let LeaseChange::Taken(_) = change {
            assert!(lost_at.is_some(), "it never learned that it lost the lease");
            alone.set_outcome(CallOutcome::Answered);
            assert!(matches!(
                one.keep(&Memory::new()).await,
                Err(LeaseError::Lost)
            ));
            pass(2).await;
            let change = one.renew(&Memory::new()).await;
            assert!(matches!(change, LeaseChange::Same), "{change:?}");
            assert_eq!(one.holder(), Some("two"));
            return;
        }
        pass(1).await;
    }
    panic!("it was never taken");
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_costs_nobody_the_lease() {
    let table = Table::new(TIMEOUT);
    let mut one = shared(&table, "one");
    one.renew(&Memory::new()).await;
    table.set_outcome(CallOutcome::ReplyLost);
    pass(2).await;
    assert!(matches!(
        one.renew(&Memory::new()).await,
        LeaseChange::Unreached(_)
    ));
    table.set_outcome(CallOutcome::Answered);
    for _ in 0..20 {
        pass(1).await;
        let change = one.renew(&Memory::new()).await;
        assert!(!matches!(change, LeaseChange::Lost), "{change:?}");
        assert!(holds(&one));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_did_not_hear_that_it_has_it_takes_it_at_the_next_look() {
    let table = Table::new(TIMEOUT);
    let mut one = shared(&table, "one");
    one.renew(&Memory::new()).await;
    table.set_outcome(CallOutcome::NotArrived);
    for _ in 0..15 {
        pass(1).await;
        one.renew(&Memory::new()).await;
    }
    assert!(!holds(&one));
    table.set_outcome(CallOutcome::Answered);
    pass(2).await;
    taken(one.renew(&Memory::new()).await);
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_is_taken_at_the_next_look() {
    let table = Table::new(TIMEOUT);
    let (mut one, mut two) = (shared(&table, "one"), shared(&table.caller(), "two"));
    one.renew(&Memory::new()).await;
    two.renew(&Memory::new()).await;
    one.give_up(&memory_with("w-1")).await.expect("it is said");
    assert!(!holds(&one));
    pass(2).await;
    let left = taken(two.renew(&Memory::new()).await);
    assert_eq!(left, Some(memory_with("w-1")));
    assert_eq!(table.item().as_ref().map(|item| item.epoch), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_for_calls_before_it_ends() {
    let mut one = shared(&Table::new(TIMEOUT), "one");
    one.renew(&Memory::new()).await;
    assert!(one.outlasts(Duration::from_secs(9)));
    pass(8).await;
    assert!(one.outlasts(Duration::from_secs(1)) && !one.outlasts(Duration::from_secs(3)));
}

#[tokio::test(start_paused = true)]
async fn what_a_later_version_left_is_not_taken_for_nothing() {
    let table = Table::new(TIMEOUT);
    let mut one = shared(&table, "one");
    one.renew(&Memory::new()).await;
    one.give_up(&Memory::new()).await.expect("it is said");
    if let Some(item) = table.item().as_mut() {
        item.memory = Some("{\"version\": 9}".to_owned());
    }
    pass(2).await;
    match one.renew(&Memory::new()).await {
        LeaseChange::Taken(Err(error)) => {
            assert_eq!(error.to_string(), "it is of version 9, expected at most 2");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_locked_file_is_one_s_until_it_is_gone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("scaler.lock");
    let lease = || Lease::File(FileLease::new(path.clone()));
    let (mut one, mut two) = (lease(), lease());
    assert_eq!(taken(one.renew(&Memory::new()).await), None);
    assert!(matches!(two.renew(&Memory::new()).await, LeaseChange::Same));
    assert!(holds(&one) && !holds(&two));
    one.keep(&memory_with("w-3")).await.expect("it is kept");
    drop(one);
    assert_eq!(
        taken(two.renew(&Memory::new()).await),
        Some(memory_with("w-3"))
    );
}

#[test]
fn a_memory_is_read_as_it_was_written_and_from_the_version_before_and_after() {
    let mut memory = memory_with("w-1");
    let now = Time::from_ms(5000);
    memory.by_hand = Some(Override {
        size: Size::Workers(3),
        until: Time::from_ms(9000),
    });
    let action = Action {
        launch: 2,
        remove: vec!["w-9".to_owned()],
        drain: vec!["w-4".to_owned()],
        ..Action::default()
    };
    memory.intend(now, &action);
    assert!(memory.removed.contains_key("w-9"));
    let json = memory.to_json().expect("it is small");
    assert_eq!(Memory::of_json(&json).expect("it is read"), memory);
    for known in [r#"{"version":0}"#, r#"{"version":2,"later":true}"#] {
        Memory::of_json(known).expect("it is read");
    }
}

#[test]
fn a_memory_is_bounded() {
    let mut memory = Memory::new();
    for second in 0..100_000_u64 {
        let action = Action {
            launch: 1,
            remove: vec![format!("i-{second:017}")],
            ..Action::default()
        };
        memory.intend(Time::from_ms(second * 1000), &action);
    }
    let json = memory.to_json().expect("it is small");
    assert!(json.len() < 40_000, "{} bytes", json.len());
    for id in 0..20_000 {
        memory
            .draining
            .insert(format!("i-{id:017}"), Time::default());
    }
    let refused = memory.to_json().expect_err("it is too large");
    assert!(refused.to_string().ends_with("expected at most 350000"));
}

#[tokio::test(start_paused = true)]
async fn a_table_that_cannot_be_reached_is_so_until_it_answers_and_not_between_two_looks() {
    let table = Table::new(TIMEOUT);
    let mut one = shared(&table, "one");
    table.set_outcome(CallOutcome::NotArrived);
    let none = Memory::new();
    assert!(matches!(one.renew(&none).await, LeaseChange::Unreached(_)));
    for _ in 0..9 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let change = one.renew(&none).await;
        let is_so = matches!(
            change,
            LeaseChange::Unreached(_) | LeaseChange::StillUnreached
        );
        assert!(is_so, "{change:?}");
    }
    table.set_outcome(CallOutcome::Answered);
    pass(2).await;
    assert!(matches!(one.renew(&none).await, LeaseChange::Taken(_)));
    assert!(matches!(one.renew(&none).await, LeaseChange::Same));
}
