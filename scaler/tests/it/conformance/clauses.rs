//! The clauses, in the order of the table.

use futures_util::future::BoxFuture;
use tidegate_scaler::fleet::{FleetError, Notice};

use super::{ROOM, Run, Verdict, staying};

pub struct Clause {
    pub name: &'static str,
    pub is_core: bool,
    pub run: for<'a> fn(&'a mut Run) -> BoxFuture<'a, Verdict>,
}

macro_rules! clauses {
    ($($core:literal $name:literal $run:ident;)*) => {
        [$(Clause {
            name: $name,
            is_core: $core,
            run: |run| Box::pin($run(run)),
        }),*]
    };
}

pub const CLAUSES: [Clause; 14] = clauses![
    true "an empty fleet has no members" empty;
    true "a launch is described from then on" launch_shows;
    true "it grows by exactly what was asked" grows_exactly;
    true "members keep their names and ages" names_last;
    true "exactly the named member is removed" removes_exactly;
    true "a removed member is reported as ended, and as asked for" end_is_reported;
    true "removing twice takes one away" removes_once;
    true "who is not there is said so" unknown_is_said;
    true "it says its bounds, and takes no more" bounds_hold;
    true "a replaced member goes and one comes" replaces;
    false "a launch has its member's id at once" names_at_once;
    false "members live on without the scaler, or end with it" lives_or_ends;
    false "a member that others end is reported" others_end;
    false "a size that others set is reported and kept" others_size;
];

async fn empty(run: &mut Run) -> Verdict {
    for _ in 0..30 {
        let status = run.status().await;
        assert!(status.members.is_empty(), "{:?}", status.members);
        assert!(status.ended.is_empty(), "{:?}", status.ended);
    }
    Verdict::Holds
}

async fn launch_shows(run: &mut Run) -> Verdict {
    run.status().await;
    run.grow(2).await;
    for _ in 0..60 {
        assert_eq!(run.here().await.len(), 2);
    }
    Verdict::Holds
}

async fn grows_exactly(run: &mut Run) -> Verdict {
    run.grown(1).await;
    run.grow(0).await;
    run.grow(2).await;
    for _ in 0..60 {
        assert_eq!(run.here().await.len(), 3);
    }
    Verdict::Holds
}

async fn names_last(run: &mut Run) -> Verdict {
    run.grown(3).await;
    let first = run.status().await;
    for _ in 0..60 {
        assert_eq!(run.status().await.members, first.members);
    }
    Verdict::Holds
}

async fn removes_exactly(run: &mut Run) -> Verdict {
    let mut all = run.grown(3).await;
    let victim = all.remove(1);
    let removed = run.fleet().remove(&victim).await;
    removed.unwrap_or_else(|error| panic!("{error}"));
    for _ in 0..60 {
        assert_eq!(run.here().await, all);
    }
    let status = run
        .until("it is gone", |status| status.members.len() == 2)
        .await;
    assert_eq!(staying(&status), all);
    Verdict::Holds
}

async fn end_is_reported(run: &mut Run) -> Verdict {
    let all = run.grown(2).await;
    let removed = run.fleet().remove(&all[0]).await;
    removed.unwrap_or_else(|error| panic!("{error}"));
    run.until("it is gone", |status| status.members.len() == 1)
        .await;
    let events: Vec<(&str, bool)> = run.ended.iter().map(|e| (e.id.as_str(), e.asked)).collect();
    assert_eq!(events, [(all[0].as_str(), true)]);
    Verdict::Holds
}

async fn removes_once(run: &mut Run) -> Verdict {
    let all = run.grown(3).await;
    for _ in 0..3 {
        match run.fleet().remove(&all[2]).await {
            Ok(()) | Err(FleetError::Unknown { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        run.status().await;
    }
    for _ in 0..60 {
        assert_eq!(run.here().await, all[..2]);
    }
    Verdict::Holds
}

async fn unknown_is_said(run: &mut Run) -> Verdict {
    run.grown(1).await;
    let removed = run.fleet().remove("nobody").await;
    assert!(
        matches!(removed, Err(FleetError::Unknown { .. })),
        "{removed:?}"
    );
    assert_eq!(run.here().await.len(), 1);
    Verdict::Holds
}

async fn bounds_hold(run: &mut Run) -> Verdict {
    run.grown(ROOM).await;
    let limits = run.fleet().limits();
    assert!(limits.why.is_some_and(|why| !why.is_empty()));
    if limits.bounds.max == u32::MAX {
        // It sets none, and says so; the policy's hold.
        assert_eq!(limits.bounds.min, 0);
        return Verdict::Holds;
    }
    assert_eq!((limits.bounds.min, limits.bounds.max), (0, ROOM));
    let now = run.now;
    let more = run.fleet().grow(now, 1).await;
    assert!(
        matches!(more, Err(FleetError::AtMaximum { max: ROOM })),
        "{more:?}"
    );
    for _ in 0..30 {
        assert_eq!(run.here().await.len() as u32, ROOM);
    }
    Verdict::Holds
}

async fn replaces(run: &mut Run) -> Verdict {
    let all = run.grown(2).await;
    let now = run.now;
    let replaced = run.fleet().replace(now, &all[0]).await;
    replaced.unwrap_or_else(|error| panic!("{error}"));
    let done = run
        .until("another is there", |status| {
            let here = staying(status);
            let is_new = |id: &String| !all.contains(id) && !id.starts_with("launch-");
            status.members.len() == 2 && here.contains(&all[1]) && here.iter().any(is_new)
        })
        .await;
    for _ in 0..40 {
        assert_eq!(run.here().await, staying(&done));
    }
    Verdict::Holds
}

async fn names_at_once(run: &mut Run) -> Verdict {
    if !run.fleet().capabilities().names_at_once {
        return Verdict::NotOffered;
    }
    run.status().await;
    let mut names = run.grow(2).await;
    names.sort();
    for _ in 0..30 {
        assert_eq!(run.here().await, names);
    }
    Verdict::Holds
}

async fn lives_or_ends(run: &mut Run) -> Verdict {
    let all = run.grown(2).await;
    run.fleet().close().await;
    let left = run.here().await;
    match run.fleet().capabilities().outlives_scaler {
        true => assert_eq!(left, all),
        false => assert!(left.is_empty(), "{left:?}"),
    }
    Verdict::Holds
}

async fn others_end(run: &mut Run) -> Verdict {
    let all = run.grown(2).await;
    if !run.testbed.end_by_others(&all[0]).await {
        return Verdict::NotTried;
    }
    let gone = all[0].clone();
    run.until("it is gone", |status| {
        status.members.iter().all(|member| member.id != gone)
    })
    .await;
    assert_eq!(run.ended.len(), 1);
    assert_eq!(run.ended[0].id, all[0]);
    Verdict::Holds
}

async fn others_size(run: &mut Run) -> Verdict {
    if !run.fleet().capabilities().has_other_writers {
        return Verdict::NotOffered;
    }
    run.grown(1).await;
    // Until what was written ourselves cannot be meant any more.
    for _ in 0..40 {
        run.status().await;
    }
    if !run.testbed.size_by_others(3).await {
        return Verdict::NotTried;
    }
    run.until("it is seen", |status| staying(status).len() == 3)
        .await;
    for _ in 0..60 {
        assert_eq!(run.here().await.len(), 3);
    }
    let events = run.notices.iter();
    let events: Vec<_> = events
        .filter(|n| matches!(n, Notice::SizedByOthers { .. }))
        .collect();
    assert_eq!(events, [&Notice::SizedByOthers { from: 1, to: 3 }]);
    Verdict::Holds
}
