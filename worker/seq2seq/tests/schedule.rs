//! Texts are the same whatever is computed beside them, and pages hold what they should.

use std::collections::HashMap;

use tidegate_seq2seq::{
    Finish, Limits, Network, Patience, Scheduler, Search, Source, Target, Task, Words,
};

const VOCABULARY: usize = 11;
const PAGE: usize = 4;
const START: u32 = 0;
const END: u32 = 1;

/// Remembers what is written to pages, and makes logits of what it reads there.
struct Pages {
    sources: HashMap<u32, Vec<u32>>,
    targets: Vec<[u32; PAGE]>,
    /// Rows of the largest step.
    widest: usize,
}

impl Network for Pages {
    type Error = String;

    fn vocabulary(&self) -> usize {
        VOCABULARY
    }

    fn encode(&mut self, sources: &[Source<'_>]) -> Result<(), String> {
        for source in sources {
            for (page, tokens) in source.pages.iter().zip(source.tokens.chunks(PAGE)) {
                self.sources.insert(*page, tokens.to_vec());
            }
        }
        Ok(())
    }

    fn step(&mut self, targets: &[Target<'_>], logits: &mut [f32]) -> Result<(), String> {
        self.widest = self.widest.max(targets.len());
        for (target, logits) in targets.iter().zip(logits.chunks_exact_mut(VOCABULARY)) {
            let page = target.pages[target.position / PAGE] as usize;
            self.targets[page][target.position % PAGE] = target.token;
            let read = |at: usize| self.targets[target.pages[at / PAGE] as usize][at % PAGE];
            let text: Vec<u32> = (0..=target.position).map(read).collect();
            let pages = target.source.pages.iter();
            let source: Vec<u32> = pages.flat_map(|page| self.sources[page].clone()).collect();
            assert_eq!(source, target.source.tokens);
            logits.copy_from_slice(&row(&source, &text));
        }
        Ok(())
    }

    fn copy_page(&mut self, from: u32, to: u32) -> Result<(), String> {
        self.targets[to as usize] = self.targets[from as usize];
        Ok(())
    }
}

/// Logits that depend on every token.
fn row(source: &[u32], text: &[u32]) -> Vec<f32> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut mix = |x: u64| {
        state = (state ^ x).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        state ^= state >> 29;
        state
    };
    for &token in source.iter().chain([&99]).chain(text) {
        mix(u64::from(token) + 1);
    }
    (0..VOCABULARY as u64)
        .map(|token| (mix(token) >> 40) as f32 / 4e6)
        .collect()
}

fn limits() -> Limits {
    Limits {
        targets: 9,
        source_tokens: 16,
        source_pages: 8,
        target_pages: 24,
        page_tokens: PAGE,
    }
}

fn words() -> Words {
    Words {
        start: START,
        ends: vec![END],
    }
}

fn task(i: u32) -> Task {
    let search = match i % 3 {
        0 => Search::Greedy,
        n => Search::Beams {
            width: 2 * n as usize,
            length_penalty: 0.5 * n as f32,
            patience: [Patience::Early, Patience::Usual, Patience::Never][(i / 3 % 3) as usize],
        },
    };
    Task {
        source: (0..1 + i * 5 % 13).map(|k| (i * 7 + k * 3) % 11).collect(),
        search,
        max_tokens: 3 + (i * 5 % 18) as usize,
        min_tokens: (i % 4) as usize,
        ignore_end: i % 7 == 3,
        scored: false,
    }
}

type Text = (Vec<u32>, Option<f32>, Finish);

/// All texts, the tasks being added `together` at a time.
fn texts(tasks: &[Task], together: usize) -> Vec<Text> {
    let mut network = Pages {
        sources: HashMap::new(),
        targets: vec![[77; PAGE]; limits().target_pages],
        widest: 0,
    };
    let mut scheduler = Scheduler::new(limits(), words());
    let mut done = HashMap::new();
    let mut grown: HashMap<u64, Vec<u32>> = HashMap::new();
    for (block, tasks) in tasks.chunks(together).enumerate() {
        for (i, task) in tasks.iter().enumerate() {
            let id = (block * together + i) as u64;
            scheduler.add(id, task.clone()).expect("it fits");
        }
        while !scheduler.is_idle() {
            scheduler.admit();
            for (id, delta) in scheduler.step(&mut network).expect("it never fails") {
                let text = grown.entry(id).or_default();
                text.extend(delta.tokens);
                if let Some(finish) = delta.finish {
                    done.insert(id, (text.clone(), delta.score, finish));
                }
            }
        }
        assert_eq!(scheduler.pages_used(), 0, "all pages are free again");
    }
    assert!(network.widest <= limits().targets);
    (0..tasks.len() as u64)
        .map(|id| done[&id].clone())
        .collect()
}

#[test]
fn a_text_does_not_depend_on_its_company() {
    let tasks: Vec<Task> = (0..40).map(task).collect();
    let alone = texts(&tasks, 1);
    assert_eq!(texts(&tasks, 40), alone);
    assert_eq!(texts(&tasks, 7), alone);
    let ends = alone.iter().filter(|text| text.2 == Finish::End).count();
    assert!(ends > 10 && ends < 40, "{ends} texts end by themselves");
}

#[test]
fn a_greedy_text_is_the_likeliest_token_at_each_place() {
    let task = Task {
        search: Search::Greedy,
        max_tokens: 15,
        ignore_end: true,
        ..task(8)
    };
    let mut text = vec![START];
    for _ in 0..15 {
        let row = row(&task.source, &text);
        let best = (0..VOCABULARY).max_by(|&a, &b| row[a].total_cmp(&row[b]));
        text.push(best.expect("a token") as u32);
    }
    let found = texts(std::slice::from_ref(&task), 1).remove(0);
    assert_eq!(found, (text[1..].to_vec(), None, Finish::Length));
}

#[test]
fn what_cannot_fit_is_refused_and_what_leaves_gives_all_back() {
    let mut scheduler = Scheduler::new(limits(), words());
    for too_large in [
        Task {
            source: vec![1; 17],
            ..task(0)
        },
        Task {
            source: Vec::new(),
            ..task(0)
        },
        Task {
            max_tokens: 24 * PAGE + 1,
            ..task(0)
        },
        Task {
            search: Search::Beams {
                width: 10,
                length_penalty: 1.0,
                patience: Patience::Usual,
            },
            ..task(0)
        },
    ] {
        assert!(scheduler.add(1, too_large).is_err());
    }
    for id in 0..6 {
        scheduler.add(id, task(id as u32)).expect("it fits");
    }
    let entered = scheduler.admit();
    assert!(!entered.is_empty() && entered.len() < 6);
    for id in 0..6 {
        scheduler.remove(id);
    }
    assert!(scheduler.is_idle());
    assert_eq!(scheduler.pages_used(), 0);
}
