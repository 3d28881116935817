//! One answer in the making: its tokens, how far they are computed, and what ends it.

use crate::grammar::Grammar;
use crate::pages::{Chain, Pages};
use crate::sampling::{Sampler, Sampling, log_sum, top};
use crate::text::TextStream;
use crate::tokens::Tokenizer;

/// What is asked for.
pub struct Task {
    /// At least one token.
    pub prompt: Vec<u32>,
    /// The answer has at most so many tokens.
    pub max_tokens: usize,
    /// And at least so many: no token of the end before.
    pub min_tokens: usize,
    /// Tokens of the end are tokens like others.
    pub ignore_end: bool,
    pub sampling: Sampling,
    pub stops: Vec<String>,
    /// Whether the stop string is part of the answer.
    pub show_stop: bool,
    /// With each token its probability, and so many others.
    pub alternatives: Option<usize>,
    /// Also for the tokens of the prompt.
    pub score_prompt: bool,
    pub grammar: Option<Grammar>,
    /// Answers to one prompt have the same: they wait for the first to have read it.
    pub group: u64,
}

/// A token with the natural logarithm of its probability.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    pub token: u32,
    pub logprob: f32,
    /// The likeliest tokens in its place.
    pub top: Vec<(u32, f32)>,
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// By a token of the end, or because the grammar was complete.
    End,
    /// By a stop string.
    Stop(String),
    /// It has as many tokens as it may.
    Length,
    /// It cannot go on.
    Failed(String),
}

/// What a step brought forth for one sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// May be empty: a letter or a stop string may be under way.
    pub text: String,
    /// New tokens of the answer.
    pub tokens: Vec<u32>,
    /// As many as `tokens`, where they were asked for.
    pub scored: Vec<Scored>,
    /// The same for the prompt, from its second token on.
    pub prompt_scored: Vec<Scored>,
    pub finish: Option<Finish>,
}

pub(super) struct Sequence {
    pub id: u64,
    pub group: u64,
    pub tokens: Vec<u32>,
    pub prompt: usize,
    /// Tokens whose keys and values are in the cache.
    pub computed: usize,
    /// Tokens of the prompt that were there already.
    pub reused: usize,
    pub pages: Vec<u32>,
    chain: Chain,
    chained: usize,
    sampler: Sampler,
    text: TextStream,
    task: Limits,
    grammar: Option<Grammar>,
}

struct Limits {
    max_tokens: usize,
    min_tokens: usize,
    ignore_end: bool,
    alternatives: Option<usize>,
    score_prompt: bool,
}

impl Sequence {
    pub fn new(id: u64, task: Task) -> Sequence {
        Sequence {
            id,
            group: task.group,
            prompt: task.prompt.len(),
            computed: 0,
            reused: 0,
            pages: Vec::new(),
            chain: Chain::default(),
            chained: 0,
            sampler: Sampler::new(task.sampling, &task.prompt),
            text: TextStream::new(task.stops, task.show_stop),
            tokens: task.prompt,
            grammar: task.grammar,
            task: Limits {
                max_tokens: task.max_tokens,
                min_tokens: task.min_tokens,
                ignore_end: task.ignore_end,
                alternatives: task.alternatives,
                score_prompt: task.score_prompt,
            },
        }
    }

    /// The most tokens that it will have.
    pub fn length(&self) -> usize {
        self.prompt + self.task.max_tokens
    }

    /// Takes pages for all of it; false if there are too few.
    pub fn enter(&mut self, pages: &mut Pages) -> bool {
        // What is scored must be computed.
        let known: &[u32] = match self.task.score_prompt {
            true => &self.tokens[..1],
            false => &self.tokens,
        };
        let Some((held, shared)) = pages.take(known, self.length()) else {
            return false;
        };
        self.pages = held;
        self.chain = shared.chain;
        self.chained = shared.pages.len();
        self.reused = shared.pages.len() * pages.page_tokens();
        self.computed = self.reused;
        true
    }

    pub fn reads_prompt(&self) -> bool {
        self.computed < self.prompt
    }

    pub fn scores_prompt(&self) -> bool {
        self.task.score_prompt && self.reads_prompt()
    }

    /// Counts tokens as computed, and makes the pages that they filled known.
    pub fn advance(&mut self, tokens: usize, pages: &mut Pages) {
        self.computed += tokens;
        let size = pages.page_tokens();
        while (self.chained + 1) * size <= self.computed {
            let content = &self.tokens[self.chained * size..(self.chained + 1) * size];
            self.chain = pages.filled(self.pages[self.chained], self.chain, content);
            self.chained += 1;
        }
    }

    /// Scores the token that stands at `place` of the prompt by the logits before it.
    pub fn score_prompt(&self, place: usize, logits: &[f32]) -> Option<Scored> {
        let token = *self.tokens.get(place).filter(|_| place < self.prompt)?;
        Some(scored(token, logits, self.task.alternatives.unwrap_or(0)))
    }

    /// Chooses the next token by the logits behind the last.
    pub fn choose(&mut self, logits: &mut [f32], tokenizer: &Tokenizer) -> Delta {
        if self.task.max_tokens == 0 {
            return finished(Finish::Length, self.text.finish());
        }
        let before = self
            .task
            .alternatives
            .map(|count| (log_sum(logits), top(logits, count)));
        let raw = before.is_some().then(|| logits.to_vec());
        if let Err(problem) = self.forbid(logits, tokenizer) {
            return finished(Finish::Failed(problem), self.text.finish());
        }
        let token = self.sampler.choose(logits);
        if !logits
            .get(token as usize)
            .is_some_and(|logit| logit.is_finite())
        {
            let problem = "the network gave no number for any token that may follow";
            return finished(Finish::Failed(problem.to_owned()), self.text.finish());
        }
        let mut delta = Delta::default();
        if let (Some((sum, top)), Some(raw)) = (before, raw) {
            delta.scored.push(Scored {
                token,
                logprob: raw[token as usize] - sum,
                top: top
                    .into_iter()
                    .map(|(token, logit)| (token, logit - sum))
                    .collect(),
            });
        }
        delta.tokens.push(token);
        self.tokens.push(token);
        self.take(token, tokenizer, &mut delta);
        delta
    }

    /// Sets the logits of tokens that may not follow to minus infinity.
    fn forbid(&mut self, logits: &mut [f32], tokenizer: &Tokenizer) -> Result<(), String> {
        if self.answered() < self.task.min_tokens {
            for &end in tokenizer.ends() {
                if let Some(logit) = logits.get_mut(end as usize) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        match &mut self.grammar {
            Some(grammar) => grammar.mask(logits),
            None => Ok(()),
        }
    }

    /// Adds a token to the answer, and says whether that ends it.
    fn take(&mut self, token: u32, tokenizer: &Tokenizer, delta: &mut Delta) {
        let ends = tokenizer.ends().contains(&token) && !self.task.ignore_end;
        if !ends && tokenizer.is_text(token) {
            delta.text = self.text.push(tokenizer.vocabulary().bytes(token));
        }
        let complete = match &mut self.grammar {
            Some(grammar) if !ends => grammar.accept(token),
            _ => Ok(false),
        };
        delta.finish = match (self.text.stopped(), complete) {
            (Some(stop), _) => Some(Finish::Stop(stop.to_owned())),
            (None, Err(problem)) => Some(Finish::Failed(problem)),
            (None, Ok(complete)) if ends || complete => Some(Finish::End),
            _ if self.answered() >= self.task.max_tokens => Some(Finish::Length),
            _ => None,
        };
        if delta.finish.is_some() && self.text.stopped().is_none() {
            delta.text += &self.text.finish();
        }
    }

    /// Tokens of the answer.
    pub fn answered(&self) -> usize {
        self.tokens.len() - self.prompt
    }
}

fn finished(finish: Finish, text: String) -> Delta {
    Delta {
        text,
        finish: Some(finish),
        ..Delta::default()
    }
}

fn scored(token: u32, logits: &[f32], alternatives: usize) -> Scored {
    let sum = log_sum(logits);
    let logit = logits
        .get(token as usize)
        .copied()
        .unwrap_or(f32::NEG_INFINITY);
    Scored {
        token,
        logprob: logit - sum,
        top: (top(logits, alternatives).into_iter())
            .map(|(token, logit)| (token, logit - sum))
            .collect(),
    }
}
