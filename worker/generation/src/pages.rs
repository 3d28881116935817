//! Which pages of the key-value cache belong to which sequence.
//!
//! A page holds a fixed number of tokens of one sequence. A full page is known by its tokens and
//! by the full page before it, so that a sequence that begins as another did shares its pages:
//! turns of one conversation, answers to one prompt, requests with one system message. Pages that
//! nobody uses keep their content until they are needed, the longest unused first.

use std::collections::{BTreeMap, HashMap};

/// What leads to a page, and the page's tokens.
type Beginning = (Chain, Box<[u32]>);

/// The content of a full page and of all before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Chain(u64);

/// Counts who uses each page.
#[derive(Debug)]
pub struct Pages {
    page_tokens: usize,
    users: Vec<u32>,
    /// Without content.
    free: Vec<u32>,
    /// With content and without a user, by when they were last used.
    idle: BTreeMap<u64, u32>,
    idle_since: Vec<u64>,
    known: HashMap<Beginning, (u32, Chain)>,
    /// What a page is known by.
    keys: Vec<Option<Beginning>>,
    next: u64,
}

/// Pages of a sequence's beginning that were there already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    pub pages: Vec<u32>,
    pub chain: Chain,
}

impl Pages {
    pub fn new(pages: usize, page_tokens: usize) -> Pages {
        Pages {
            page_tokens: page_tokens.max(1),
            users: vec![0; pages],
            free: (0..pages as u32).rev().collect(),
            idle: BTreeMap::new(),
            idle_since: vec![0; pages],
            known: HashMap::new(),
            keys: vec![None; pages],
            next: 1,
        }
    }

    pub fn page_tokens(&self) -> usize {
        self.page_tokens
    }

    pub fn total(&self) -> usize {
        self.users.len()
    }

    pub fn used(&self) -> usize {
        self.total() - self.available()
    }

    fn available(&self) -> usize {
        self.free.len() + self.idle.len()
    }

    /// Takes pages for `tokens`, of a sequence that will have `length` at most. As many as can be
    /// are shared, but never the last token's: its logits must be computed. None if too few pages
    /// are free: then nothing is taken.
    pub fn take(&mut self, tokens: &[u32], length: usize) -> Option<(Vec<u32>, Shared)> {
        let shared = self.shared(tokens);
        let needed = length.div_ceil(self.page_tokens).max(shared.pages.len());
        let new = needed - shared.pages.len();
        let idle_shared = shared
            .pages
            .iter()
            .filter(|&&page| self.users[page as usize] == 0);
        if new + idle_shared.count() > self.available() {
            return None;
        }
        for &page in &shared.pages {
            self.enter(page);
        }
        let mut pages = shared.pages.clone();
        for _ in 0..new {
            let page = self.fresh()?;
            self.users[page as usize] = 1;
            pages.push(page);
        }
        Some((pages, shared))
    }

    fn shared(&self, tokens: &[u32]) -> Shared {
        let mut shared = Shared::default();
        let most = tokens.len().saturating_sub(1) / self.page_tokens;
        for content in tokens.chunks_exact(self.page_tokens).take(most) {
            match self.known.get(&(shared.chain, content.into())) {
                Some(&(page, chain)) => {
                    shared.pages.push(page);
                    shared.chain = chain;
                }
                None => break,
            }
        }
        shared
    }

    fn enter(&mut self, page: u32) {
        let users = &mut self.users[page as usize];
        if *users == 0 {
            self.idle.remove(&self.idle_since[page as usize]);
        }
        *users += 1;
    }

    /// A page without content.
    fn fresh(&mut self) -> Option<u32> {
        if let Some(page) = self.free.pop() {
            return Some(page);
        }
        let (_, page) = self.idle.pop_first()?;
        if let Some(key) = self.keys[page as usize].take() {
            self.known.remove(&key);
        }
        Some(page)
    }

    /// Makes a full page known, the one behind `before`. Returns what stands for both.
    pub fn filled(&mut self, page: u32, before: Chain, content: &[u32]) -> Chain {
        let key = (before, Box::from(content));
        if let Some(&(_, chain)) = self.known.get(&key) {
            return chain;
        }
        let chain = Chain(self.next);
        self.next += 1;
        self.known.insert(key.clone(), (page, chain));
        self.keys[page as usize] = Some(key);
        chain
    }

    /// Gives pages back. The last ones lose their content first.
    pub fn give_back(&mut self, pages: &[u32]) {
        for &page in pages.iter().rev() {
            let index = page as usize;
            self.users[index] -= 1;
            if self.users[index] > 0 {
                continue;
            }
            if self.keys[index].is_none() {
                self.free.push(page);
            } else {
                self.next += 1;
                self.idle_since[index] = self.next;
                self.idle.insert(self.next, page);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As the scheduler does it: takes pages, computes all tokens, makes full pages known.
    fn computed(pages: &mut Pages, tokens: &[u32]) -> Option<(Vec<u32>, usize)> {
        let (held, shared) = pages.take(tokens, tokens.len())?;
        let mut chain = shared.chain;
        let full = tokens.chunks_exact(pages.page_tokens()).enumerate();
        for (index, content) in full.skip(shared.pages.len()) {
            chain = pages.filled(held[index], chain, content);
        }
        Some((held, shared.pages.len()))
    }

    #[test]
    fn what_begins_alike_is_shared() {
        let mut pages = Pages::new(8, 2);
        let (first, _) = computed(&mut pages, &[1, 2, 3, 4, 5]).unwrap();
        let (second, shared) = computed(&mut pages, &[1, 2, 3, 4, 6, 7]).unwrap();
        assert_eq!((shared, &first[..2]), (2, &second[..2]));
        assert_eq!(pages.used(), 4);
        // The same page behind another beginning is another page.
        let (_, shared) = computed(&mut pages, &[9, 9, 3, 4, 5]).unwrap();
        assert_eq!(shared, 0);
    }

    #[test]
    fn the_last_token_is_always_computed() {
        let mut pages = Pages::new(8, 2);
        let (held, _) = computed(&mut pages, &[1, 2, 3, 4]).unwrap();
        pages.give_back(&held);
        let (_, shared) = computed(&mut pages, &[1, 2, 3, 4]).unwrap();
        assert_eq!(shared, 1);
    }

    #[test]
    fn content_stays_until_its_page_is_needed() {
        let mut pages = Pages::new(3, 2);
        let (held, _) = computed(&mut pages, &[1, 2, 3, 4, 5]).unwrap();
        assert!(pages.take(&[7], 1).is_none());
        pages.give_back(&held);
        assert_eq!(pages.used(), 0);
        // Takes the free page, then the one furthest back.
        let (other, _) = computed(&mut pages, &[8, 8, 8]).unwrap();
        let (again, shared) = computed(&mut pages, &[1, 2]).unwrap_or_default();
        assert_eq!((again.len(), shared), (1, 0));
        pages.give_back(&other);
        pages.give_back(&again);
        assert_eq!(pages.used(), 0);
    }

    proptest! {
        #[test]
        fn pages_are_never_lost_nor_given_twice(
            steps in prop::collection::vec((prop::collection::vec(0u32..3, 1..9), any::<bool>()), 1..80),
        ) {
            let mut pages = Pages::new(10, 2);
            let mut held: Vec<(Vec<u32>, Vec<u32>)> = Vec::new();
            for (tokens, leave) in steps {
                if leave && !held.is_empty() {
                    let (taken, _) = held.remove(0);
                    pages.give_back(&taken);
                }
                if let Some((taken, _)) = computed(&mut pages, &tokens) {
                    prop_assert_eq!(taken.len(), tokens.len().div_ceil(2));
                    held.push((taken, tokens));
                }
                // A page with two users has the same beginning for both.
                for (a, a_tokens) in &held {
                    for (b, b_tokens) in &held {
                        for (index, page) in a.iter().enumerate() {
                            if let Some(place) = b.iter().position(|other| other == page) {
                                prop_assert_eq!(place, index);
                                let end = ((index + 1) * 2).min(a_tokens.len());
                                prop_assert_eq!(a_tokens.get(..end), b_tokens.get(..end));
                            }
                        }
                    }
                }
                let distinct: std::collections::HashSet<_> = held.iter().flat_map(|(p, _)| p).collect();
                prop_assert_eq!(pages.used(), distinct.len());
            }
        }
    }
}
