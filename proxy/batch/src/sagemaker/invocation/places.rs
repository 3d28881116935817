//! The places in S3 from which inputs come and to which answers go.

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::{Invocation, Location};
use crate::config::{Config, S3Rules};
use crate::shared::{Aws, Bucket, Payload, Put, SharedError, read_whole};
use crate::work::Shared;

/// On an object: the request whose answer it is.
const OF: &str = "x-amz-meta-tidegate-invocation";

pub struct Places {
    aws: Aws,
    output: Location,
    failure: Location,
    rules: S3Rules,
}

/// What became of an answer that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Done,
    /// The answer to another request is there.
    Taken,
}

impl Places {
    /// `None` when the configuration names no place for answers.
    pub async fn connect(config: &Config) -> Result<Option<Places>, SharedError> {
        let mut rules = config.sagemaker.s3.clone();
        let Some(output) = rules.output.clone() else {
            return Ok(None);
        };
        rules.region = rules.region.or_else(|| config.shared.region.clone());
        rules.endpoint = rules.endpoint.or_else(|| config.shared.endpoint.clone());
        Ok(Some(Places {
            aws: Aws::connect(rules.region.as_deref()).await?,
            failure: rules.failure.clone().unwrap_or_else(|| output.clone()),
            output,
            rules,
        }))
    }

    /// Where the answer to a request goes, by the names that its client may have chosen.
    pub fn output(&self, id: &str, extension: Option<&str>, file: Option<&str>) -> Location {
        let place = match extension.map(|extension| extension.trim_matches('/')) {
            Some(extension) if !extension.is_empty() => self.output.join(extension),
            _ => self.output.clone(),
        };
        match file {
            Some(file) => place.join(file),
            None => place.join(&format!("{id}.out")),
        }
    }

    /// Where it goes when there is no answer.
    pub fn failure(&self, id: &str) -> Location {
        self.failure.join(&format!("{id}-error.out"))
    }

    /// Whether clients may name this input.
    pub fn may_read(&self, input: &Location) -> bool {
        self.rules.inputs.iter().any(|place| input.is_in(place))
    }

    /// An input whole, and the memory that it takes. `None` when there is no such object.
    pub async fn read(
        &self,
        input: &Location,
        shared: &Shared,
    ) -> Result<Option<(Vec<u8>, OwnedSemaphorePermit)>, SharedError> {
        let bucket = self.bucket(input);
        read_whole(&bucket, &input.key, self.rules.input_bytes, shared).await
    }

    /// Whether something is there, as far as this service may know.
    pub async fn has(&self, place: &Location) -> bool {
        self.bucket(place).has(&place.key).await.unwrap_or(false)
    }

    /// Writes an answer, unless that was done before.
    pub async fn write(
        &self,
        invocation: &Invocation,
        to: &Location,
        text: Bytes,
    ) -> Result<Written, SharedError> {
        let bucket = self.bucket(to);
        let headers = vec![
            ("content-type", "application/json".to_owned()),
            (OF, invocation.id.clone()),
        ];
        let payload = Payload::Bytes(text);
        if bucket.put_new_with(&to.key, headers, payload).await? == Put::Done {
            return Ok(Written::Done);
        }
        let is_own = !invocation.is_named
            || to != &invocation.output
            || bucket.header(&to.key, OF).await? == Some(invocation.id.clone());
        match is_own {
            true => Ok(Written::Done),
            false => Ok(Written::Taken),
        }
    }

    fn bucket(&self, of: &Location) -> Bucket {
        let endpoint = self.rules.endpoint.as_deref();
        Bucket::new(self.aws.clone(), &of.bucket, "", endpoint)
    }
}
