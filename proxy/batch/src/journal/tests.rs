//! Journals that were written, torn and damaged.

use super::*;

fn answer(line: u32, kind: Kind, text: &str) -> Answer {
    Answer {
        line,
        kind,
        text: text.as_bytes().to_owned(),
        tokens: 0,
    }
}

fn output(journal: &Journal) -> String {
    let mut out = Vec::new();
    journal.write_out(&mut out, |_| true).expect("it is there");
    String::from_utf8(out).expect("text")
}

#[test]
fn answers_come_out_in_the_order_of_lines_and_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("j");
    let (mut journal, _) = Journal::open(&path, "in").expect("opens");
    journal
        .append(&[
            answer(3, Kind::Output, "three"),
            answer(1, Kind::Error, "one"),
        ])
        .expect("room");
    journal
        .append(&[
            answer(2, Kind::Output, "two"),
            answer(3, Kind::Output, "again"),
        ])
        .expect("room");
    assert_eq!(output(&journal), "one\ntwo\nthree\n");
    assert!(matches!(
        Journal::open(&path, "in"),
        Err(JournalError::InUse { .. })
    ));
    drop(journal);
    let (journal, damaged) = Journal::open(&path, "in").expect("opens");
    assert_eq!(
        (output(&journal).as_str(), damaged),
        ("one\ntwo\nthree\n", 0)
    );
    assert_eq!(
        journal.counts(),
        Counts {
            output: 2,
            error: 1
        }
    );
}

/// Whatever a kill or a disk leaves, what is read was written, and the journal goes on.
#[test]
fn every_torn_or_damaged_journal_is_gone_on_with() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("j");
    let (mut journal, _) = Journal::open(&path, "in").expect("opens");
    let all: Vec<_> = (1..=4)
        .map(|n| answer(n, Kind::Output, &format!("{{\"n\": {n}}}")))
        .collect();
    journal.append(&all).expect("room");
    drop(journal);
    let whole = std::fs::read(&path).expect("a file");
    let head = whole
        .iter()
        .position(|byte| *byte == b'\n')
        .expect("a head")
        + 1;
    let check = |bytes: &[u8], what: &str| {
        std::fs::write(&path, bytes).expect("room");
        let (mut journal, damaged) = Journal::open(&path, "in").expect(what);
        let before = journal.counts().output;
        assert!(u64::from(before) + damaged <= 4, "{what}");
        journal.append(&all).expect("room");
        assert_eq!(
            output(&journal),
            "{\"n\": 1}\n{\"n\": 2}\n{\"n\": 3}\n{\"n\": 4}\n",
            "{what}"
        );
        drop(journal);
        let (journal, _) = Journal::open(&path, "in").expect(what);
        assert_eq!(journal.counts().output, 4, "{what}");
    };
    for length in 0..whole.len() {
        check(&whole[..length], &format!("cut at {length}"));
    }
    for place in head..whole.len() {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x15;
        check(&bytes, &format!("damaged at {place}"));
    }
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("j");
    let refusal = |text: &str| {
        std::fs::write(&path, text).expect("room");
        let error = Journal::open(&path, "in")
            .err()
            .expect("refused")
            .to_string();
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), text);
        error.replace(&path.display().to_string(), "J")
    };
    assert_eq!(refusal("my notes"), "J is no journal of tidegate-batch");
    assert_eq!(
        refusal("my notes\nmore\n"),
        "J is no journal of tidegate-batch"
    );
    assert_eq!(
        refusal("tidegate-batch-journal 2 in\n"),
        "J was written by a newer version of tidegate-batch (journal 2, this one knows 1)"
    );
    assert_eq!(
        refusal("tidegate-batch-journal 1 other\n"),
        "J holds answers to another input (other, expected in); remove it to begin again"
    );
}
