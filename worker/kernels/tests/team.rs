//! A team runs work on every member, time after time, and survives a member that fails.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidegate_kernels::{Broken, Member, Team};

#[test]
fn every_member_runs_each_piece_of_work_once() -> std::io::Result<()> {
    for members in 1..=4 {
        let mut team = Team::new(members)?;
        assert_eq!(team.members(), members);
        for round in 0..300 {
            if round % 100 == 99 {
                // Long enough for members to park.
                std::thread::sleep(Duration::from_millis(5));
            }
            let seen: Vec<AtomicUsize> = (0..members).map(|_| AtomicUsize::new(0)).collect();
            let before_barrier = AtomicUsize::new(0);
            let done = team.run(|member: Member<'_>| -> Result<(), Broken> {
                seen[member.index].fetch_add(1, Ordering::Relaxed);
                before_barrier.fetch_add(1, Ordering::Relaxed);
                member.wait()?;
                assert_eq!(before_barrier.load(Ordering::Relaxed), member.count);
                Ok(())
            });
            assert_eq!(done, Ok(()));
            assert!(seen.iter().all(|seen| seen.load(Ordering::Relaxed) == 1));
        }
    }
    Ok(())
}

#[test]
fn a_member_that_panics_or_fails_stops_the_others() -> std::io::Result<()> {
    let mut team = Team::new(3)?;
    for bad in 0..3 {
        let panicked = team.run(|member: Member<'_>| {
            assert_ne!(member.index, bad, "on purpose");
            member.wait()
        });
        assert_eq!(panicked, Err(Broken));
        let failed = team.run(|member: Member<'_>| {
            if member.index == bad {
                return Err(Broken);
            }
            member.wait()
        });
        assert_eq!(failed, Err(Broken));
        assert_eq!(team.run(|member: Member<'_>| member.wait()), Ok(()));
    }
    Ok(())
}
