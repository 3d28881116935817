//! Messages that the queue has lost: deleted by somebody, expired, or moved to a dead-letter queue.
//!
//! Nobody can ask SQS whether it has a message. So objects tell when each was last sent or seen by a
//! service (`work/ID/sent/PART`, `signs/OWNER/INVOCATION`), and a message that no service has seen for long
//! is sent again: after five visibility timeouts, and twice as long each further time, so that a queue in
//! which messages wait for hours does not fill with copies. Ages are those of the bucket's clock.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::warn;

use super::batches::{part_message, sent_key};
use super::bucket::{Listed, Put};
use super::invocations;
use super::queue::Message;
use super::{Payload, SharedError, SharedStore};

/// Visibility timeouts without a sign of a message.
const PATIENCE: u32 = 5;

/// The wait is doubled so often at most.
const MOST_DOUBLINGS: u32 = 10;

const SIGNS: &str = "signs/";

/// The messages that this service had lately.
#[derive(Default)]
pub struct Seen {
    last: Mutex<HashMap<Message, Instant>>,
}

/// What an object says of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign {
    /// How often it was sent again.
    pub times: u32,
    /// Since it was sent or seen.
    pub age: Duration,
}

/// What is to be done about a message.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Wait,
    /// To leave word that it is there.
    Mark(u32),
    /// For the so many-th time.
    SendAgain(u32),
}

impl Seen {
    pub fn note(&self, message: &Message) {
        self.last().insert(message.clone(), Instant::now());
    }

    /// Those that were here within this time; forgets the others.
    fn within(&self, time: Duration) -> HashSet<Message> {
        let mut last = self.last();
        last.retain(|_, seen| seen.elapsed() <= time);
        last.keys().cloned().collect()
    }

    fn last(&self) -> MutexGuard<'_, HashMap<Message, Instant>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sign {
    /// Of objects that tell of one message: the one of its last time.
    pub fn keep_latest(self, latest: &mut Option<Sign>) {
        if latest.is_none_or(|latest| latest.times <= self.times) {
            *latest = Some(self);
        }
    }

    fn step(self, visibility: Duration, is_here: bool) -> Step {
        let patience = visibility * (PATIENCE << self.times.min(MOST_DOUBLINGS));
        match is_here {
            true if self.age >= patience / 2 => Step::Mark(self.times),
            false if self.age >= patience => Step::SendAgain(self.times + 1),
            _ => Step::Wait,
        }
    }
}

/// `NAME`, or `NAME.TIMES` of what was sent again.
pub fn read_sign<'a>(name: &'a str, listed: &Listed) -> (&'a str, Sign) {
    let read = |(name, times): (&'a str, &str)| Some((name, times.parse().ok()?));
    let (name, times) = name.rsplit_once('.').and_then(read).unwrap_or((name, 0));
    let age = listed.age;
    (name, Sign { times, age })
}

/// The name of a sign.
pub fn sign_name(name: &str, times: u32) -> String {
    match times {
        0 => name.to_owned(),
        times => format!("{name}.{times}"),
    }
}

impl SharedStore {
    /// Sends again what seems to be lost.
    pub async fn send_lost(&self, seen: &Seen) -> Result<(), SharedError> {
        let here = seen.within(self.queue.visibility);
        for (owner, asked) in self.all_open("open/").await? {
            let id = &asked.row.batch.id;
            let progress = self.progress(id).await?;
            for part in progress.missing(&asked) {
                let message = part_message(&owner, id, part);
                let key = |times| sent_key(id, part, times);
                let sign = progress.signs.get(&part).copied();
                self.look_after(&message, sign, &here, key).await?;
            }
        }
        self.send_lost_invocations(&here).await
    }

    async fn send_lost_invocations(&self, here: &HashSet<Message>) -> Result<(), SharedError> {
        let invocations = self.bucket.list(invocations::BEGIN).await?;
        let listed = self.bucket.list(SIGNS).await?;
        let mut signs: HashMap<&str, Option<Sign>> = HashMap::new();
        for object in &listed {
            let name = object.key.strip_prefix(SIGNS).unwrap_or_default();
            let (name, sign) = read_sign(name, object);
            sign.keep_latest(signs.entry(name).or_default());
        }
        let mut waiting = HashSet::new();
        for object in &invocations {
            let name = object.key.strip_prefix(invocations::BEGIN);
            let Some((name, message)) =
                name.and_then(|name| Some((name, invocations::message(name)?)))
            else {
                continue;
            };
            waiting.insert(name);
            let (times, age) = (0, object.age);
            let sign = signs.get(name).copied().flatten();
            let sign = sign.unwrap_or(Sign { times, age });
            let key = |times| format!("{SIGNS}{}", sign_name(name, times));
            self.look_after(&message, Some(sign), here, key).await?;
        }
        for object in &listed {
            let name = object.key.strip_prefix(SIGNS).unwrap_or_default();
            if !waiting.contains(read_sign(name, object).0) {
                self.bucket.delete(&object.key).await?;
            }
        }
        Ok(())
    }

    /// Without a sign the time of a message begins now.
    async fn look_after(
        &self,
        message: &Message,
        sign: Option<Sign>,
        here: &HashSet<Message>,
        key: impl Fn(u32) -> String,
    ) -> Result<(), SharedError> {
        let Some(sign) = sign else {
            return self.bucket.mark(&key(0)).await;
        };
        match sign.step(self.queue.visibility, here.contains(message)) {
            Step::Wait => Ok(()),
            Step::Mark(times) => self.bucket.mark(&key(times)).await,
            Step::SendAgain(times) => {
                let nothing = Payload::Bytes(Bytes::new());
                if self.bucket.put_new(&key(times), nothing).await? == Put::Exists {
                    // Another service does.
                    return Ok(());
                }
                let silent_s = sign.age.as_secs();
                warn!(work = %message, silent_s, "no service has seen it; it is sent again");
                self.queue.send(std::slice::from_ref(message)).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VISIBILITY: Duration = Duration::from_secs(60);

    fn step(times: u32, seconds: u64, is_here: bool) -> Step {
        let age = Duration::from_secs(seconds);
        Sign { times, age }.step(VISIBILITY, is_here)
    }

    #[test]
    fn a_message_without_a_sign_is_sent_again_after_five_timeouts_and_then_ten() {
        assert_eq!(step(0, 299, false), Step::Wait);
        assert_eq!(step(0, 300, false), Step::SendAgain(1));
        assert_eq!(step(1, 599, false), Step::Wait);
        assert_eq!(step(1, 600, false), Step::SendAgain(2));
        assert_eq!(
            step(99, 307_199, false),
            Step::Wait,
            "there is an end to that"
        );
        assert_eq!(step(99, 307_200, false), Step::SendAgain(100));
    }

    #[test]
    fn a_message_that_is_here_is_marked_before_others_take_it_for_lost() {
        assert_eq!(step(0, 149, true), Step::Wait);
        assert_eq!(step(0, 150, true), Step::Mark(0));
        assert_eq!(step(1, 4000, true), Step::Mark(1));
    }

    #[test]
    fn names_of_signs_are_read_as_they_are_written() {
        let age = Duration::from_secs(7);
        let listed = Listed {
            key: String::new(),
            bytes: 0,
            age,
        };
        let mut latest = None;
        for times in [0, 2, 1] {
            let name = sign_name("a/00003", times);
            let (read, sign) = read_sign(&name, &listed);
            assert_eq!((read, sign), ("a/00003", Sign { times, age }));
            sign.keep_latest(&mut latest);
        }
        assert_eq!(latest, Some(Sign { times: 2, age }));
        assert_eq!(read_sign("a.b/1", &listed).0, "a.b/1");
    }

    #[test]
    fn what_was_here_is_forgotten_after_a_while() {
        let seen = Seen::default();
        let message = Message::Invocation {
            owner: "a".to_owned(),
            invocation: "1".to_owned(),
        };
        seen.note(&message);
        assert!(seen.within(VISIBILITY).contains(&message));
        std::thread::sleep(Duration::from_millis(2));
        assert!(seen.within(Duration::from_millis(1)).is_empty());
        assert!(seen.within(VISIBILITY).is_empty(), "it stays so");
    }
}
