//! A store that many machines share: files, batches and answers as objects of S3, parts of batches as
//! messages of SQS.
//!
//!     files/OWNER/ID           what is known of a file, as JSON
//!     contents/OWNER/ID        its content
//!     expiry/SECONDS.OWNER.ID  when it is to be removed; nothing in it
//!     batches/OWNER/ID         a batch as it was asked for
//!     open/OWNER/ID            the same, until nothing is left to do
//!     work/ID/begun/SECONDS    somebody works on it since then
//!     work/ID/cancel/SECONDS   its end is asked for
//!     work/ID/counts/PART.O.E  so many lines of a part are answered, and so many failed
//!     work/ID/parts/PART       the answers of a part
//!     work/ID/sent/PART        it is in the queue, put there by whoever took the part before it; of what
//!                              was sent again PART.TIMES
//!     ended/OWNER/ID           the batch as it ended
//!     invocations/OWNER/ID     a request whose answer goes to S3, until that is written
//!     signs/OWNER/ID           its message was seen in the queue, or sent again: ID.TIMES
//!
//! A message names a part of a batch, which is a range of its input's lines, or an invocation. It may come twice, and two
//! machines may work on one part: the answers that count are those whose object was there first
//! (`If-None-Match: *`). Whoever finds all parts there writes the output, the same bytes whoever does
//! it, and the first `ended` object is the end. A message is deleted after what it led to is an
//! object; so a kill at any moment costs the answers of the parts at work on that machine and nothing
//! else, and those too only until it is started again, for it keeps them in journals of its own.

mod aws;
mod batches;
mod bucket;
mod error;
mod files;
mod finish;
mod invocations;
mod lost;
mod parts;
mod piece;
mod progress;
mod queue;
mod room;
mod runner;
mod scratch;
mod turns;
mod working;

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use tracing::error;

pub use self::aws::{Aws, Payload};
use self::batches::Look;
pub use self::bucket::{Bucket, Put, read_whole};
pub use self::error::SharedError;
use self::queue::Queue;
use self::room::Room;
pub use self::runner::Runner;
use self::scratch::Scratch;
use crate::config::{Config, Quota};

/// Of the objects and messages that this build writes. Those of a later one are left to services of that version.
const VERSION: u32 = 1;

pub struct SharedStore {
    bucket: Bucket,
    queue: Queue,
    scratch: Scratch,
    room: Room,
    quota: Quota,
    part_lines: u32,
    part_bytes: u64,
    /// What was left to do when it was last looked at.
    look: Mutex<Option<(Instant, Look)>>,
}

/// Of a list: what cannot be read is said and left out, and stays as it is.
fn whole<T>(found: Result<Option<T>, SharedError>) -> Result<Option<T>, SharedError> {
    match found {
        Err(error @ (SharedError::Object { .. } | SharedError::Newer { .. })) => {
            error!(%error, "left out of a list");
            Ok(None)
        }
        found => found,
    }
}

impl SharedStore {
    /// `None` when the configuration names no bucket.
    pub async fn connect(config: &Config) -> Result<Option<SharedStore>, SharedError> {
        let rules = &config.shared;
        let (Some(bucket), Some(queue)) = (&rules.bucket, &rules.queue) else {
            return Ok(None);
        };
        let scratch = Scratch::open(&config.store)?;
        let aws = Aws::connect(rules.region.as_deref()).await?;
        let queue = Queue::new(aws.clone(), queue, *rules.visibility)?;
        Ok(Some(SharedStore {
            bucket: Bucket::new(aws, bucket, &rules.prefix, rules.endpoint.as_deref()),
            queue,
            scratch,
            room: Room::new(config.store.clone(), rules.part_bytes, *rules.visibility),
            quota: config.quota.clone(),
            part_lines: rules.part_lines,
            part_bytes: rules.part_bytes,
            look: Mutex::default(),
        }))
    }

    /// A place on this machine for what is not whole yet.
    pub fn upload_path(&self, name: &str) -> PathBuf {
        self.scratch.upload(name)
    }
}
