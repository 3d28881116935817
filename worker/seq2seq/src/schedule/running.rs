//! A task that has entered: its search and the pages of its hypotheses.

use super::{Delta, Finish, Network, Source, Target, Task, Words};
use crate::pool::Pool;
use crate::search::{Beams, Rules, Search, likeliest, log_sum};

pub(super) struct Running {
    pub(super) id: u64,
    source: Vec<u32>,
    source_pages: Vec<u32>,
    /// For each hypothesis, in the order of the search.
    hypotheses: Vec<Line>,
    /// Tokens of each hypothesis.
    length: usize,
    width: usize,
    /// Pages that its hypotheses may have together.
    promised: usize,
    state: State,
}

/// A hypothesis' last token and the pages of those before it.
struct Line {
    token: u32,
    pages: Vec<u32>,
}

enum State {
    Greedy {
        ends: Vec<u32>,
        min_tokens: usize,
        max_tokens: usize,
        scored: bool,
    },
    Beams(Beams),
}

impl Running {
    /// `promised` pages of the pool of targets are its own from now on.
    pub(super) fn new(
        id: u64,
        task: Task,
        source_pages: Vec<u32>,
        promised: usize,
        words: &Words,
    ) -> Self {
        let ends = match task.ignore_end {
            true => Vec::new(),
            false => words.ends.clone(),
        };
        let (min_tokens, max_tokens) = (task.min_tokens, task.max_tokens.max(1));
        let state = match task.search {
            Search::Greedy => State::Greedy {
                ends,
                min_tokens,
                max_tokens,
                scored: task.scored,
            },
            Search::Beams {
                length_penalty,
                patience,
                ..
            } => State::Beams(Beams::new(Rules {
                width: task.search.width(),
                length_penalty,
                patience,
                ends,
                min_tokens,
                max_tokens,
            })),
        };
        Self {
            id,
            source: task.source,
            source_pages,
            hypotheses: vec![Line {
                token: words.start,
                pages: Vec::new(),
            }],
            length: 0,
            width: task.search.width(),
            promised,
            state,
        }
    }

    /// Hypotheses that it may have.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Hypotheses that it has.
    pub(super) fn hypotheses(&self) -> usize {
        self.hypotheses.len()
    }

    pub(super) fn source(&self) -> Source<'_> {
        Source {
            tokens: &self.source,
            pages: &self.source_pages,
        }
    }

    /// Gives each hypothesis a page for its last token, if its pages are full.
    pub(super) fn grow(&mut self, pool: &mut Pool, page_tokens: usize) {
        if self.length.is_multiple_of(page_tokens) {
            for line in &mut self.hypotheses {
                line.pages.extend(pool.take());
            }
        }
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = Target<'_>> {
        self.hypotheses.iter().map(|line| Target {
            token: line.token,
            position: self.length,
            pages: &line.pages,
            source: self.source(),
        })
    }

    /// Takes a row of logits for each hypothesis.
    pub(super) fn advance<N: Network>(
        &mut self,
        logits: &[f32],
        pool: &mut Pool,
        network: &mut N,
        page_tokens: usize,
    ) -> Result<Delta, N::Error> {
        self.length += 1;
        let parents = match &mut self.state {
            State::Greedy {
                ends,
                min_tokens,
                max_tokens,
                scored,
            } => {
                let too_short = self.length < *min_tokens;
                let token = likeliest(logits, if too_short { ends } else { &[] });
                self.hypotheses[0].token = token;
                let finish = match (ends.contains(&token), self.length >= *max_tokens) {
                    (true, _) => Some(Finish::End),
                    (false, true) => Some(Finish::Length),
                    (false, false) => None,
                };
                let logprob = |logits: &[f32]| logits[token as usize] - log_sum(logits);
                return Ok(Delta {
                    tokens: vec![token],
                    logprobs: scored.then(|| logprob(logits)).into_iter().collect(),
                    score: None,
                    finish,
                });
            }
            State::Beams(beams) => beams.advance(logits, network.vocabulary()),
        };
        match parents {
            Some(parents) => {
                self.follow(&parents, pool, network, page_tokens)?;
                Ok(Delta::default())
            }
            None => Ok(self.finish()),
        }
    }

    /// Gives each hypothesis the pages of the one that it came from: full ones are shared, the last
    /// one, which is written to, is copied for all but one.
    fn follow<N: Network>(
        &mut self,
        parents: &[usize],
        pool: &mut Pool,
        network: &mut N,
        page_tokens: usize,
    ) -> Result<(), N::Error> {
        let before = std::mem::take(&mut self.hypotheses);
        let mut owned = vec![false; before.len()];
        for (at, line) in before.iter().enumerate() {
            if !parents.contains(&at) {
                line.pages.iter().for_each(|&page| pool.leave(page));
            }
        }
        let has_open_page = !self.length.is_multiple_of(page_tokens);
        let State::Beams(beams) = &self.state else {
            return Ok(());
        };
        for (&parent, text) in parents.iter().zip(beams.running()) {
            let mut pages = before[parent].pages.clone();
            if owned[parent] {
                let open = if has_open_page { pages.pop() } else { None };
                pages.iter().for_each(|&page| pool.share(page));
                if let (Some(from), Some(to)) = (open, open.and_then(|_| pool.take())) {
                    network.copy_page(from, to)?;
                    pages.push(to);
                }
            }
            owned[parent] = true;
            self.hypotheses.push(Line {
                token: text.tokens.last().copied().unwrap_or(0),
                pages,
            });
        }
        Ok(())
    }

    fn finish(&mut self) -> Delta {
        let State::Beams(beams) = &mut self.state else {
            return Delta::default();
        };
        let best = beams.best();
        let ended = best.as_ref().is_some_and(|text| beams.ends(text));
        Delta {
            finish: Some(if ended { Finish::End } else { Finish::Length }),
            score: best.as_ref().map(|text| text.score),
            logprobs: Vec::new(),
            tokens: best.map_or_else(Vec::new, |text| text.tokens),
        }
    }

    /// Gives back all pages, and what of the promise is left.
    pub(super) fn leave(self, sources: &mut Pool, targets: &mut Pool) {
        for &page in &self.source_pages {
            sources.leave(page);
        }
        sources.forget(self.source_pages.len());
        for page in self.hypotheses.iter().flat_map(|line| &line.pages) {
            targets.leave(*page);
        }
        targets.forget(self.promised);
    }
}
