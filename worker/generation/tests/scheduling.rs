//! Answers over a network that is arithmetic on its tokens: what a step computes, who waits for
//! whom, and that an answer is the same whatever is computed beside it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_generation::{
    Chunk, Delta, Finish, Limits, Network, Sampling, Scheduler, Task, Tokenizer, Wanted,
};
use tidegate_gguf::{Gguf, Numbers, Scalar, Value, Writer};

/// Tokens are the letters `a` to `z`, a space, and an end.
const END: u32 = 27;

fn tokenizer() -> Tokenizer {
    let mut writer = Writer::new();
    let letters: Vec<String> = ('a'..='z').map(String::from).collect();
    let tokens = letters
        .iter()
        .map(String::as_str)
        .chain(["Ġ", "<end>"])
        .collect();
    writer.attribute("tokenizer.ggml.model", &Value::String("gpt2".into()));
    writer.attribute("tokenizer.ggml.tokens", &Value::Strings(tokens));
    let roles: Vec<u8> = (0..28u32)
        .flat_map(|id| (if id == END { 3i32 } else { 1 }).to_le_bytes())
        .collect();
    let roles = Numbers {
        scalar: Scalar::I32,
        bytes: roles,
    };
    writer.attribute("tokenizer.ggml.token_type", &Value::Numbers(roles));
    writer.attribute("tokenizer.ggml.merges", &Value::Strings(Default::default()));
    writer.attribute("tokenizer.ggml.eos_token_id", &Value::Unsigned(END.into()));
    let mut file = Vec::new();
    let none = |_: &str| -> Result<Vec<u8>, std::io::Error> { Ok(Vec::new()) };
    writer.write(&mut file, none).unwrap();
    Tokenizer::from_gguf(&Gguf::read(&file[..], file.len() as u64).unwrap()).unwrap()
}

/// Keeps what it was given for each page, and answers by a hash of a sequence's whole past: whoever
/// is given a page of another past answers something else.
#[derive(Default)]
struct Hash {
    pages: BTreeMap<(u32, usize), u32>,
    steps: Vec<Vec<usize>>,
}

const PAGE: usize = 4;

/// Tasks belong to groups of their own unless a test says otherwise.
static GROUP: AtomicU64 = AtomicU64::new(100);

impl Network for Hash {
    type Error = Infallible;

    fn vocabulary(&self) -> usize {
        28
    }

    fn step(&mut self, chunks: &[Chunk], logits: &mut [f32]) -> Result<(), Infallible> {
        self.steps
            .push(chunks.iter().map(|chunk| chunk.tokens.len()).collect());
        let mut rows = logits.chunks_exact_mut(28);
        for chunk in chunks {
            for (index, &token) in chunk.tokens.iter().enumerate() {
                let place = chunk.start + index;
                self.pages
                    .insert((chunk.pages[place / PAGE], place % PAGE), token);
                let last = index + 1 == chunk.tokens.len();
                let wanted = chunk.wanted == Wanted::All || (chunk.wanted == Wanted::Last && last);
                if wanted {
                    let past =
                        (0..=place).map(|at| self.pages[&(chunk.pages[at / PAGE], at % PAGE)]);
                    let hash = past.fold(7u64, |hash, token| {
                        (hash ^ u64::from(token))
                            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                            .rotate_left(23)
                    });
                    let row = rows.next().unwrap();
                    for (token, logit) in row.iter_mut().enumerate() {
                        let mixed = (hash ^ token as u64).wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 40;
                        *logit = mixed as f32 / 2e6;
                    }
                }
            }
        }
        assert!(rows.next().is_none());
        Ok(())
    }
}

fn task(prompt: &str, max_tokens: usize) -> Task {
    Task {
        prompt: tokenizer().pieces(prompt).unwrap(),
        max_tokens,
        min_tokens: 0,
        ignore_end: true,
        sampling: Sampling {
            temperature: 0.0,
            ..Sampling::default()
        },
        stops: Vec::new(),
        show_stop: false,
        alternatives: None,
        score_prompt: false,
        grammar: None,
        group: GROUP.fetch_add(1, Ordering::Relaxed),
    }
}

struct Harness {
    scheduler: Scheduler,
    network: Hash,
    tokenizer: Tokenizer,
    deltas: BTreeMap<u64, Vec<Delta>>,
}

impl Harness {
    fn new(sequences: usize, step_tokens: usize, pages: usize) -> Harness {
        let limits = Limits {
            sequences,
            step_tokens,
            pages,
            page_tokens: PAGE,
        };
        Harness {
            scheduler: Scheduler::new(limits),
            network: Hash::default(),
            tokenizer: tokenizer(),
            deltas: BTreeMap::new(),
        }
    }

    fn step(&mut self) {
        self.scheduler.admit();
        let deltas = self.scheduler.step(&mut self.network, &self.tokenizer);
        for (id, delta) in deltas.unwrap() {
            self.deltas.entry(id).or_default().push(delta);
        }
    }

    fn finish(&mut self) {
        for _ in 0..10_000 {
            if self.scheduler.is_idle() {
                return;
            }
            self.step();
        }
        panic!("the sequences never end");
    }

    fn text(&self, id: u64) -> String {
        self.deltas[&id]
            .iter()
            .map(|delta| &delta.text[..])
            .collect()
    }

    fn finish_of(&self, id: u64) -> Option<Finish> {
        self.deltas[&id]
            .last()
            .and_then(|delta| delta.finish.clone())
    }
}

fn alone(task: Task) -> String {
    let mut harness = Harness::new(1, 64, 64);
    harness.scheduler.add(0, task);
    harness.finish();
    harness.text(0)
}

#[test]
fn an_answer_is_the_same_alone_and_among_others() {
    let prompts = [
        "the tide",
        "a",
        "the tide turns and the gate is open",
        "the tide",
        "zz top",
    ];
    let seeded = |index: usize, prompt: &str| Task {
        sampling: Sampling {
            seed: index as u64 / 2,
            ..Sampling::default()
        },
        ..task(prompt, 20)
    };
    for (sequences, step_tokens) in [(5, 64), (2, 3), (3, 1)] {
        let mut harness = Harness::new(sequences, step_tokens, 64);
        for (index, prompt) in prompts.iter().enumerate() {
            harness.scheduler.add(index as u64, seeded(index, prompt));
        }
        harness.finish();
        for (index, prompt) in prompts.iter().enumerate() {
            assert_eq!(
                harness.text(index as u64),
                alone(seeded(index, prompt)),
                "{prompt}"
            );
            assert_eq!(harness.finish_of(index as u64), Some(Finish::Length));
        }
        assert_eq!(harness.scheduler.pages().used(), 0);
    }
}

#[test]
fn a_long_prompt_does_not_hold_up_others() {
    let mut harness = Harness::new(4, 8, 64);
    harness.scheduler.add(0, task("a", 30));
    harness.step();
    harness.scheduler.add(1, task(&"long ".repeat(20), 1));
    harness.step();
    harness.scheduler.add(2, task("b", 1));
    let before = harness.deltas[&0].len();
    harness.step();
    harness.step();
    // The one that answers got a token each step, the short prompt has been answered.
    assert_eq!(harness.deltas[&0].len(), before + 2);
    assert!(harness.deltas.contains_key(&2) && !harness.deltas.contains_key(&1));
    let longest = harness
        .network
        .steps
        .iter()
        .map(|parts| parts.iter().sum::<usize>())
        .max();
    assert!(longest <= Some(8 + 1), "{longest:?}");
    harness.finish();
}

#[test]
fn the_next_turn_reuses_what_was_computed() {
    let mut harness = Harness::new(1, 64, 64);
    harness.scheduler.add(0, task("the tide turns", 10));
    harness.finish();
    let computed = harness.scheduler.totals().prompt_tokens;
    let turn = format!("the tide turns{}and now", harness.text(0));
    harness.scheduler.add(1, task(&turn, 10));
    harness.finish();
    let totals = harness.scheduler.totals();
    assert_eq!(totals.reused_tokens, 20);
    assert_eq!(totals.prompt_tokens - computed, turn.len() as u64 - 20);
    assert_eq!(harness.text(1), alone(task(&turn, 10)));
}

#[test]
fn answers_to_one_prompt_share_its_pages() {
    let mut harness = Harness::new(3, 64, 64);
    for id in 0..3 {
        let sampling = Sampling {
            seed: id,
            ..Sampling::default()
        };
        harness.scheduler.add(
            id,
            Task {
                group: 5,
                sampling,
                ..task("the tide turns", 6)
            },
        );
    }
    harness.finish();
    assert_eq!(harness.scheduler.totals().reused_tokens, 2 * 12);
}

#[test]
fn who_finds_no_pages_waits_and_who_leaves_frees_them() {
    let mut harness = Harness::new(4, 64, 4);
    assert!(harness.scheduler.can_hold(16) && !harness.scheduler.can_hold(17));
    harness.scheduler.add(0, task("abcd", 8));
    harness.scheduler.add(1, task("efgh", 8));
    harness.step();
    assert_eq!(
        (harness.scheduler.running(), harness.scheduler.waiting()),
        (1, 1)
    );
    harness.scheduler.remove(0);
    harness.step();
    assert_eq!(
        (harness.scheduler.running(), harness.scheduler.waiting()),
        (1, 0)
    );
    harness.finish();
    assert_eq!(harness.text(1), alone(task("efgh", 8)));
}

#[test]
fn answers_end_where_they_are_told_to() {
    let whole = alone(task("abc", 24));
    let stop = &whole[5..8];
    let mut harness = Harness::new(4, 64, 64);
    harness.scheduler.add(
        0,
        Task {
            stops: vec![stop.to_owned()],
            ..task("abc", 24)
        },
    );
    let bias = |token, bias| Sampling {
        bias: [(token, bias)].into(),
        temperature: 0.0,
        ..Sampling::default()
    };
    let ending = || Task {
        ignore_end: false,
        sampling: bias(END, 100.0),
        ..task("abc", 9)
    };
    harness.scheduler.add(1, ending());
    harness.scheduler.add(
        2,
        Task {
            min_tokens: 3,
            ..ending()
        },
    );
    harness.scheduler.add(
        3,
        Task {
            ignore_end: true,
            ..ending()
        },
    );
    harness.finish();
    let end = whole.find(stop).unwrap();
    assert_eq!(
        (harness.text(0), harness.finish_of(0)),
        (whole[..end].to_owned(), Some(Finish::Stop(stop.to_owned())))
    );
    assert_eq!(
        (harness.text(1), harness.finish_of(1)),
        (String::new(), Some(Finish::End))
    );
    assert_eq!(
        (harness.text(2).len(), harness.finish_of(2)),
        (3, Some(Finish::End))
    );
    assert_eq!(
        (harness.text(3), harness.finish_of(3)),
        (String::new(), Some(Finish::Length))
    );
}

#[test]
fn tokens_are_scored_with_their_prompt() {
    let mut harness = Harness::new(1, 3, 64);
    let scoring = || Task {
        alternatives: Some(2),
        score_prompt: true,
        ..task("abcdefghij", 2)
    };
    for id in 0..2 {
        harness.scheduler.add(id, scoring());
        harness.finish();
        let prompt: Vec<_> = harness.deltas[&id]
            .iter()
            .flat_map(|delta| &delta.prompt_scored)
            .collect();
        assert_eq!(
            prompt.iter().map(|scored| scored.token).collect::<Vec<_>>(),
            (1..10).collect::<Vec<_>>()
        );
        let answer: Vec<_> = harness.deltas[&id]
            .iter()
            .flat_map(|delta| &delta.scored)
            .collect();
        assert_eq!(answer.len(), 2);
        // Greedy: the chosen token is the likeliest.
        assert!(
            answer
                .iter()
                .all(|scored| scored.top[0] == (scored.token, scored.logprob)
                    && scored.top.len() == 2)
        );
    }
}
