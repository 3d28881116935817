//! Ragged batches: token ids end to end, and where each sequence begins.

use std::ops::Range;

use crate::error::{ShapeError, at_least, exactly};

/// Sequences without padding: sequence i is tokens `offsets[i]..offsets[i + 1]`.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    ids: &'a [u32],
    kinds: Option<&'a [u32]>,
    offsets: &'a [usize],
}

impl<'a> Batch<'a> {
    /// `kinds` are token types, all zero if there are none.
    ///
    /// # Errors
    /// The offsets do not rise from zero to the number of ids, a sequence is empty, or there are
    /// not as many kinds as ids.
    pub fn new(
        ids: &'a [u32],
        kinds: Option<&'a [u32]>,
        offsets: &'a [usize],
    ) -> Result<Self, ShapeError> {
        exactly("first offset", 0, *offsets.first().unwrap_or(&1))?;
        exactly("last offset", ids.len(), *offsets.last().unwrap_or(&1))?;
        for pair in offsets.windows(2) {
            at_least("end of a sequence", pair[0].saturating_add(1), pair[1])?;
        }
        if let Some(kinds) = kinds {
            exactly("token kinds", ids.len(), kinds.len())?;
        }
        Ok(Self {
            ids,
            kinds,
            offsets,
        })
    }

    /// Sequences.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens of all sequences.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Tokens of the longest sequence.
    pub fn longest(&self) -> usize {
        self.offsets
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap_or(0)
    }

    pub(super) fn ids(&self, tokens: Range<usize>) -> impl Iterator<Item = usize> + Clone + 'a {
        self.ids[tokens].iter().map(|&id| id as usize)
    }

    pub(super) fn kinds(&self, tokens: Range<usize>) -> impl Iterator<Item = usize> + Clone + 'a {
        let kinds = self.kinds;
        tokens.map(move |token| kinds.map_or(0, |kinds| kinds[token] as usize))
    }

    /// Whole sequences of at most `limit` tokens together, or one longer sequence alone, in order.
    pub(super) fn chunks(self, limit: usize) -> impl Iterator<Item = Chunk<'a>> {
        let mut first = 0;
        std::iter::from_fn(move || {
            if first == self.len() {
                return None;
            }
            let mut end = first + 1;
            while end < self.len() && self.offsets[end + 1] - self.offsets[first] <= limit {
                end += 1;
            }
            let chunk = Chunk {
                batch: self,
                sequences: first..end,
            };
            first = end;
            Some(chunk)
        })
    }
}

/// Neighbouring sequences of a batch. Its rows count from zero.
#[derive(Clone, Debug)]
pub(super) struct Chunk<'a> {
    pub(super) batch: Batch<'a>,
    pub(super) sequences: Range<usize>,
}

impl Chunk<'_> {
    /// The token of the batch that is the chunk's row 0.
    pub(super) fn first_token(&self) -> usize {
        self.batch.offsets[self.sequences.start]
    }

    pub(super) fn rows(&self) -> usize {
        self.batch.offsets[self.sequences.end] - self.first_token()
    }

    /// The rows of each sequence.
    pub(super) fn row_ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let offsets = &self.batch.offsets[self.sequences.start..=self.sequences.end];
        offsets
            .windows(2)
            .map(|pair| pair[0] - offsets[0]..pair[1] - offsets[0])
    }

    /// Each sequence that has rows in `rows`, with those rows.
    pub(super) fn overlaps(
        &self,
        rows: Range<usize>,
    ) -> impl Iterator<Item = (Range<usize>, Range<usize>)> + '_ {
        self.row_ranges().filter_map(move |sequence| {
            let shared = sequence.start.max(rows.start)..sequence.end.min(rows.end);
            (!shared.is_empty()).then_some((sequence, shared))
        })
    }
}
