//! Which of the messages received a machine takes: parts of batches so many at once, of the key with the
//! fewest parts at work here first. A key with none at work does not wait for the parts of others, and
//! invocations wait for no parts.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::queue::{Message, Received};

/// Parts beyond the limit, each of a key that has no other at work here.
const MOST_OWNERS: usize = 64;

/// Invocations at work at once; the gate lets fewer through.
const MOST_INVOCATIONS: usize = 256;

pub struct Turns {
    at_once: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    /// Parts at work, by owner. No owner is there without one.
    parts: HashMap<String, usize>,
    invocations: usize,
    /// The messages themselves: SQS may deliver one twice, and two tasks would write the same files.
    messages: HashSet<Message>,
}

/// A message that is worked on; gives its place back when it is dropped.
pub struct Turn {
    turns: Arc<Turns>,
    message: Message,
}

impl Turns {
    pub fn new(at_once: usize) -> Arc<Turns> {
        Arc::new(Turns {
            at_once,
            taken: Mutex::default(),
        })
    }

    /// Whether a part is taken whosever it is.
    pub fn has_room(&self) -> bool {
        self.taken().parts.values().sum::<usize>() < self.at_once
    }

    /// Divides messages into those that have their turn, and the others.
    pub fn choose(
        self: &Arc<Self>,
        mut messages: Vec<Received>,
    ) -> (Vec<(Received, Turn)>, Vec<Received>) {
        let mut chosen = Vec::new();
        let mut others = Vec::new();
        while !messages.is_empty() {
            let next = self.next_of(&messages);
            let received = messages.remove(next);
            match self.take(&received.message) {
                Some(turn) => chosen.push((received, turn)),
                None => others.push(received),
            }
        }
        (chosen, others)
    }

    fn next_of(&self, messages: &[Received]) -> usize {
        let taken = self.taken();
        let at_work = |message: &Message| match message {
            Message::Invocation { .. } => 0,
            Message::Part { owner, .. } => taken.of(owner),
        };
        let fewest = (0..messages.len()).min_by_key(|at| (at_work(&messages[*at].message), *at));
        fewest.unwrap_or(0)
    }

    fn take(self: &Arc<Self>, message: &Message) -> Option<Turn> {
        let mut taken = self.taken();
        if taken.messages.contains(message) {
            return None;
        }
        match message {
            Message::Invocation { .. } => {
                if taken.invocations >= MOST_INVOCATIONS {
                    return None;
                }
                taken.invocations += 1;
            }
            Message::Part { owner, .. } => {
                let most = match taken.of(owner) {
                    0 => self.at_once + MOST_OWNERS,
                    _ => self.at_once,
                };
                if taken.parts.values().sum::<usize>() >= most {
                    return None;
                }
                *taken.parts.entry(owner.clone()).or_default() += 1;
            }
        }
        taken.messages.insert(message.clone());
        Some(Turn {
            turns: Arc::clone(self),
            message: message.clone(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn of(&self, owner: &str) -> usize {
        self.parts.get(owner).copied().unwrap_or(0)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut taken = self.turns.taken();
        taken.messages.remove(&self.message);
        let Message::Part { owner, .. } = &self.message else {
            taken.invocations -= 1;
            return;
        };
        let left = taken.of(owner).saturating_sub(1);
        match left {
            0 => taken.parts.remove(owner),
            left => taken.parts.insert(owner.clone(), left),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(owner: &str, part: u32) -> Received {
        let message = Message::Part {
            owner: owner.to_owned(),
            batch: owner.to_owned(),
            part,
        };
        Received::of(message)
    }

    fn names(chosen: &[(Received, Turn)]) -> Vec<String> {
        let name = |(received, _): &(Received, Turn)| received.message.to_string();
        chosen.iter().map(name).collect()
    }

    #[test]
    fn keys_take_turns_and_none_waits_for_the_parts_of_another() {
        let turns = Turns::new(2);
        let many = (0..3).map(|number| part("many", number));
        let messages = many.chain([part("few", 0)]).collect();
        let (first, others) = turns.choose(messages);
        assert_eq!(names(&first), ["part 0 of many", "part 0 of few"]);
        assert_eq!(others.len(), 2);
        assert!(!turns.has_room());
        let (beyond, others) = turns.choose(vec![part("many", 1), part("one", 0)]);
        assert_eq!(names(&beyond), ["part 0 of one"]);
        assert_eq!(others.len(), 1);
        drop((first, beyond));
        assert!(turns.has_room());
        let (again, others) = turns.choose(vec![part("many", 1), part("many", 2)]);
        assert_eq!((again.len(), others.len()), (2, 0), "one key may have all");
    }

    #[test]
    fn a_message_that_comes_twice_is_worked_on_once_at_a_time() {
        let turns = Turns::new(4);
        let (chosen, others) = turns.choose(vec![part("one", 0), part("one", 0)]);
        assert_eq!((chosen.len(), others.len()), (1, 1));
        drop(chosen);
        assert_eq!(turns.choose(others).0.len(), 1);
    }

    #[test]
    fn invocations_wait_for_no_parts() {
        let turns = Turns::new(1);
        let (_part, _) = turns.choose(vec![part("many", 0)]);
        let invocation = Message::Invocation {
            owner: "many".to_owned(),
            invocation: "1".to_owned(),
        };
        let (chosen, _) = turns.choose(vec![part("many", 1), Received::of(invocation)]);
        assert_eq!(names(&chosen), ["invocation 1"]);
    }
}
