//! How far a batch is: what the names of its objects say, so that none has to be read.

use std::collections::BTreeMap;

use super::batches::Asked;
use super::lost::{Sign, read_sign};
use super::parts::read_counts;
use super::{SharedError, SharedStore};
use crate::journal::Counts;
use crate::store::{Batch, Status};

/// What the objects of a batch at work say.
#[derive(Debug, Default)]
pub struct Progress {
    pub begun_at: Option<u64>,
    cancelling_at: Option<u64>,
    /// Of the parts that are answered.
    counts: BTreeMap<u32, Counts>,
    parts_there: Vec<u32>,
    /// Of the messages of parts that were put into the queue by whoever took the one before.
    pub signs: BTreeMap<u32, Sign>,
}

impl SharedStore {
    pub async fn progress(&self, id: &str) -> Result<Progress, SharedError> {
        let begin = format!("work/{id}/");
        let listed = self.bucket.list(&begin).await?;
        let mut progress = Progress::default();
        for object in &listed {
            let key = object.key.strip_prefix(&begin).unwrap_or_default();
            match key.split_once('/') {
                Some(("begun", seconds)) => earliest(&mut progress.begun_at, seconds),
                Some(("cancel", seconds)) => earliest(&mut progress.cancelling_at, seconds),
                Some(("counts", counts)) => progress.counts.extend(read_counts(counts)),
                Some(("sent", name)) => progress.take_sign(read_sign(name, object)),
                Some(("parts", part)) => progress.parts_there.extend(part.parse::<u32>()),
                _ => {}
            }
        }
        Ok(progress)
    }
}

impl Progress {
    fn take_sign(&mut self, (part, sign): (&str, Sign)) {
        let Ok(part) = part.parse::<u32>() else {
            return;
        };
        let mut latest = self.signs.get(&part).copied();
        sign.keep_latest(&mut latest);
        self.signs.extend(latest.map(|latest| (part, latest)));
    }

    /// The parts that were in the queue and have no answer; where there are none the next one, and at the
    /// end the last one again, so that somebody finishes the batch.
    pub fn missing(&self, asked: &Asked) -> Vec<u32> {
        let count = asked.parts.len() as u32;
        let sent = match asked.is_chained {
            true => self
                .signs
                .keys()
                .max()
                .map_or(1, |last| last + 1)
                .min(count),
            false => count,
        };
        let missing: Vec<u32> = (0..sent)
            .filter(|part| !self.parts_there.contains(part))
            .collect();
        match missing.is_empty() {
            true => vec![sent.min(count.saturating_sub(1))],
            false => missing,
        }
    }

    /// Brings a batch that has not ended up to now.
    pub fn apply(&self, batch: &mut Batch) {
        let mut counts = Counts::default();
        for part in self.counts.values() {
            counts.output += part.output;
            counts.error += part.error;
        }
        batch.count(counts);
        batch.in_progress_at = self.begun_at;
        batch.cancelling_at = self.cancelling_at;
        batch.status = match (self.cancelling_at, self.begun_at) {
            (Some(_), _) => Status::Cancelling,
            (None, Some(_)) => Status::InProgress,
            (None, None) => Status::Validating,
        };
    }
}

fn earliest(time: &mut Option<u64>, seconds: &str) {
    if let Ok(seconds) = seconds.parse() {
        *time = Some(time.map_or(seconds, |time| time.min(seconds)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::parts::Part;
    use super::*;
    use crate::store::{NewBatch, Row, fresh};

    #[test]
    fn what_is_sent_again_is_what_was_sent_and_is_not_there() {
        let part = Part {
            before: 0,
            offset: 0,
            bytes: 1,
        };
        let new = NewBatch {
            endpoint: crate::input::Endpoint::Embeddings,
            input_file_id: "file-1".to_owned(),
            completion_window: "24h".to_owned(),
            window_seconds: 1,
            metadata: None,
            keep_seconds: 1,
        };
        let asked = |is_chained| Asked {
            row: Row {
                batch: fresh("batch_1".to_owned(), &new, 4),
                ending: None,
                keep_seconds: 1,
                is_deferred: false,
                invocation: None,
            },
            input_bytes: 4,
            parts: vec![part; 4],
            is_chained,
        };
        let (times, age) = (0, std::time::Duration::ZERO);
        let sign = Sign { times, age };
        let missing = |sent: &[u32], there: &[u32], is_chained| {
            let progress = Progress {
                signs: sent.iter().map(|part| (*part, sign)).collect(),
                parts_there: there.to_vec(),
                ..Progress::default()
            };
            progress.missing(&asked(is_chained))
        };
        assert_eq!(missing(&[], &[], true), [0]);
        assert_eq!(missing(&[1, 2], &[1], true), [0, 2]);
        assert_eq!(missing(&[1], &[0, 1], true), [2], "the next");
        assert_eq!(missing(&[1, 2, 3], &[0, 1, 2, 3], true), [3], "to finish");
        assert_eq!(missing(&[], &[1], false), [0, 2, 3]);
    }
}
