//! The ages of permits in order, so that the n-th oldest is found without reading all of them: a full
//! queue needs it at every arrival.

use crate::Moment;

/// A chunk is split beyond this length, and joined with the next below a fourth of it.
const LONGEST: usize = 64;

/// Moments in ascending order, in chunks: what is added is the newest in nearly all cases, and a
/// removal moves no more than a chunk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ages {
    /// None of them empty.
    chunks: Vec<Vec<Moment>>,
}

impl Ages {
    pub fn insert(&mut self, since: Moment) {
        if let Some(newest) = self.chunks.last_mut()
            && newest.len() < LONGEST
            && newest.last().is_some_and(|last| *last <= since)
        {
            newest.push(since);
            return;
        }
        let index = self
            .chunk_of(since)
            .min(self.chunks.len().saturating_sub(1));
        let Some(chunk) = self.chunks.get_mut(index) else {
            self.chunks.push(vec![since]);
            return;
        };
        let place = chunk.partition_point(|other| *other <= since);
        chunk.insert(place, since);
        if chunk.len() > LONGEST {
            let newer = chunk.split_off(LONGEST / 2);
            self.chunks.insert(index + 1, newer);
        }
    }

    /// Removes one that was inserted.
    pub fn remove(&mut self, since: Moment) {
        let index = self.chunk_of(since);
        let Some(chunk) = self.chunks.get_mut(index) else {
            return;
        };
        if let Ok(place) = chunk.binary_search(&since) {
            chunk.remove(place);
        }
        let is_short = chunk.len() < LONGEST / 4;
        let next = self.chunks.get(index + 1).map(Vec::len);
        if is_short && next.is_some_and(|next| next <= LONGEST / 2) {
            let newer = self.chunks.remove(index + 1);
            self.chunks[index].extend(newer);
        }
        if self.chunks[index].is_empty() {
            self.chunks.remove(index);
        }
    }

    pub fn oldest(&self) -> Option<Moment> {
        self.chunks.first()?.first().copied()
    }

    /// Counted from 0.
    pub fn nth_oldest(&self, mut nth: usize) -> Option<Moment> {
        for chunk in &self.chunks {
            match chunk.get(nth) {
                Some(since) => return Some(*since),
                None => nth -= chunk.len(),
            }
        }
        None
    }

    /// The first chunk that reaches as far as `since`.
    fn chunk_of(&self, since: Moment) -> usize {
        let before = |chunk: &Vec<Moment>| chunk.last().is_some_and(|last| *last < since);
        self.chunks.partition_point(before)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Change {
        Insert(u64),
        /// The n-th oldest, around.
        Remove(usize),
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let change = prop_oneof![
            3 => (0..500_u64).prop_map(Change::Insert),
            2 => any::<usize>().prop_map(Change::Remove),
        ];
        prop::collection::vec(change, 0..3_000)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_nth_oldest_is_that_of_a_sorted_list(changes in changes()) {
            let mut ages = Ages::default();
            let mut sorted: Vec<Moment> = Vec::new();
            for change in changes {
                match change {
                    Change::Insert(ms) => {
                        let since = Moment::from_millis(ms);
                        ages.insert(since);
                        sorted.insert(sorted.partition_point(|other| *other < since), since);
                    }
                    Change::Remove(nth) if !sorted.is_empty() => {
                        ages.remove(sorted.remove(nth % sorted.len()));
                    }
                    Change::Remove(_) => {}
                }
                prop_assert_eq!(ages.oldest(), sorted.first().copied());
            }
            for nth in 0..=sorted.len() {
                prop_assert_eq!(ages.nth_oldest(nth), sorted.get(nth).copied());
            }
            prop_assert!(ages.chunks.iter().all(|chunk| (1..=LONGEST).contains(&chunk.len())));
        }
    }
}
