//! Messages of one SQS queue: sent, received, held on to, deleted.

use std::fmt;
use std::time::Duration;

use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::warn;

use super::SharedError;
use super::aws::{Ask, Aws, Payload};
use super::bucket::{from_json, to_json};

const SERVICE: &str = "sqs";

/// SQS's own limit.
const MOST_AT_ONCE: usize = 10;

pub struct Queue {
    aws: Aws,
    /// Of the service, without the queue.
    endpoint: String,
    url: String,
    /// How long a message that was received is nobody else's.
    pub visibility: Duration,
}

/// What is to be worked on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Message {
    /// A part of a batch.
    Part {
        owner: String,
        batch: String,
        part: u32,
    },
    /// A request whose answer goes to S3.
    Invocation { owner: String, invocation: String },
}

impl fmt::Display for Message {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Part { batch, part, .. } => write!(out, "part {part} of {batch}"),
            Message::Invocation { invocation, .. } => write!(out, "invocation {invocation}"),
        }
    }
}

/// A message, and what it is held by.
pub struct Received {
    pub message: Message,
    receipt: String,
}

#[cfg(test)]
impl Received {
    pub fn of(message: Message) -> Received {
        Received {
            message,
            receipt: String::new(),
        }
    }
}

impl Queue {
    pub fn new(aws: Aws, url: &str, visibility: Duration) -> Result<Queue, SharedError> {
        let parsed = Url::parse(url).ok().filter(Url::has_host);
        let parsed = parsed.ok_or_else(|| SharedError::NoQueue(url.to_owned()))?;
        Ok(Queue {
            aws,
            endpoint: format!("{}/", parsed.origin().ascii_serialization()),
            url: url.to_owned(),
            visibility,
        })
    }

    pub async fn send(&self, messages: &[Message]) -> Result<(), SharedError> {
        for some in messages.chunks(MOST_AT_ONCE) {
            let mut entries = Vec::new();
            for (id, message) in some.iter().enumerate() {
                let body = to_json("a message", message)?;
                let body = String::from_utf8_lossy(&body);
                entries.push(json!({"Id": id.to_string(), "MessageBody": body}));
            }
            let asked = json!({"Entries": entries});
            let answer = self.ask("SendMessageBatch", asked).await?;
            if answer["Failed"]
                .as_array()
                .is_some_and(|failed| !failed.is_empty())
            {
                return Err(strange("SendMessageBatch", &answer));
            }
        }
        Ok(())
    }

    /// The next messages, as many as SQS gives at once; none after `wait` without one.
    pub async fn receive(&self, wait: Duration) -> Result<Vec<Received>, SharedError> {
        let asked = json!({
            "MaxNumberOfMessages": MOST_AT_ONCE,
            "WaitTimeSeconds": wait.as_secs(),
            "VisibilityTimeout": self.visibility.as_secs(),
        });
        let answer = self.ask("ReceiveMessage", asked).await?;
        let mut messages = Vec::new();
        for found in answer["Messages"].as_array().into_iter().flatten() {
            let text = |name: &str| found[name].as_str();
            let (Some(body), Some(receipt)) = (text("Body"), text("ReceiptHandle")) else {
                return Err(strange("ReceiveMessage", &answer));
            };
            let receipt = receipt.to_owned();
            match from_json("(a message in the queue)", body.as_bytes()) {
                Ok(message) => messages.push(Received { message, receipt }),
                // For one who can read it, once its time is over.
                Err(error @ SharedError::Newer { .. }) => warn!(%error, "a message is left alone"),
                Err(error) => {
                    warn!(%error, "a message in the queue is none of ours; it is deleted");
                    if let Err(error) = self.delete_by(&receipt).await {
                        warn!(%error, "it is not deleted");
                    }
                }
            }
        }
        Ok(messages)
    }

    /// From now on it is nobody else's for so long; for no time, and somebody takes it at once.
    pub async fn hold(&self, received: &Received, time: Duration) -> Result<(), SharedError> {
        let asked = json!({
            "ReceiptHandle": received.receipt,
            "VisibilityTimeout": time.as_secs(),
        });
        self.ask("ChangeMessageVisibility", asked).await.map(drop)
    }

    /// Puts messages back: nobody has them for so long, and then anybody may.
    pub async fn put_back(&self, some: &[Received], time: Duration) -> Result<(), SharedError> {
        if some.is_empty() {
            return Ok(());
        }
        let entry = |(id, received): (usize, &Received)| {
            json!({
                "Id": id.to_string(),
                "ReceiptHandle": received.receipt,
                "VisibilityTimeout": time.as_secs(),
            })
        };
        let entries: Vec<_> = some.iter().enumerate().map(entry).collect();
        let asked = json!({"Entries": entries});
        self.ask("ChangeMessageVisibilityBatch", asked)
            .await
            .map(drop)
    }

    pub async fn delete(&self, received: &Received) -> Result<(), SharedError> {
        self.delete_by(&received.receipt).await
    }

    /// Messages that there are, as far as SQS knows at the moment.
    pub async fn length(&self) -> Result<u64, SharedError> {
        const NAMES: [&str; 3] = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ];
        let asked = json!({"AttributeNames": NAMES});
        let answer = self.ask("GetQueueAttributes", asked).await?;
        let number = |name: &&str| answer["Attributes"][*name].as_str()?.parse::<u64>().ok();
        let all: Option<Vec<u64>> = NAMES.iter().map(number).collect();
        let all = all.ok_or_else(|| strange("GetQueueAttributes", &answer))?;
        Ok(all.iter().sum())
    }

    async fn delete_by(&self, receipt: &str) -> Result<(), SharedError> {
        let asked = json!({"ReceiptHandle": receipt});
        self.ask("DeleteMessage", asked).await.map(drop)
    }

    async fn ask(&self, operation: &str, mut asked: Value) -> Result<Value, SharedError> {
        asked["QueueUrl"] = self.url.as_str().into();
        let ask = Ask {
            service: SERVICE,
            method: Method::POST,
            url: self.endpoint.clone(),
            headers: vec![
                ("content-type", "application/x-amz-json-1.0".to_owned()),
                ("x-amz-target", format!("AmazonSQS.{operation}")),
            ],
            payload: Payload::Bytes(asked.to_string().into()),
        };
        let answer = self.aws.send(&ask).await?;
        let status = answer.status();
        let body = answer.bytes().await;
        let body = body.map_err(SharedError::unreachable(SERVICE))?;
        let found: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(found);
        }
        let said = |name: &str| found[name].as_str().unwrap_or("nothing").to_owned();
        Err(SharedError::Refused {
            service: SERVICE,
            what: operation.to_owned(),
            status: status.as_u16(),
            code: said("__type"),
            message: said("message"),
        })
    }
}

fn strange(operation: &str, found: &Value) -> SharedError {
    SharedError::Strange {
        service: SERVICE,
        what: operation.to_owned(),
        found: found.to_string().chars().take(300).collect(),
    }
}
