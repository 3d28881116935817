//! A queue of SQS: how many messages wait, are being worked at, are delayed, or several of these.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::QueueAttributeName;

use async_trait::async_trait;
use tidegate_policy::{QueueRule, QueueValue};

use super::client::{CallLimits, LazyClient};
use super::reason;
use crate::sources::{Ask, Sample, SourceFault};

/// Reads one number of one queue.
pub struct QueueReader {
    link: LazyClient<Client>,
    queue: String,
    /// Once its name has been asked for, or where the rule says it.
    url: Option<String>,
    /// They are added up.
    attributes: Vec<QueueAttributeName>,
    timeout: Duration,
}

impl QueueReader {
    /// It connects with the first question.
    pub fn new(rule: &QueueRule, timeout: Duration) -> QueueReader {
        QueueReader {
            link: LazyClient::new(rule.endpoint(), CallLimits::once(timeout), Client::new),
            queue: rule.queue.clone(),
            url: rule.queue.contains("://").then(|| rule.queue.clone()),
            attributes: attributes(rule.value),
            timeout,
        }
    }

    async fn client(&self) -> Result<&Client, SourceFault> {
        let client = self.link.client().await;
        client.map_err(|missing| SourceFault::Aws(missing.to_string()))
    }

    async fn read(&mut self) -> Result<f64, SourceFault> {
        let url = match &self.url {
            Some(url) => url.clone(),
            None => self.find().await?,
        };
        let request = self.client().await?.get_queue_attributes().queue_url(&url);
        let names = Some(self.attributes.clone());
        let answer = request.set_attribute_names(names).send().await;
        let answer = answer.map_err(|error| fault(&error))?;
        let number = |name: &QueueAttributeName| {
            let found = answer.attributes().and_then(|all| all.get(name));
            let number = found.and_then(|text| text.parse::<f64>().ok());
            number.ok_or_else(|| SourceFault::NotANumber {
                place: name.to_string(),
                found: found.map_or("nothing".to_owned(), |text| format!("\"{text}\"")),
            })
        };
        self.attributes.iter().map(number).sum()
    }

    async fn find(&mut self) -> Result<String, SourceFault> {
        let request = self.client().await?.get_queue_url().queue_name(&self.queue);
        let answer = request.send().await.map_err(|error| fault(&error))?;
        let url = answer.queue_url().ok_or(SourceFault::NoQueue)?.to_owned();
        self.url = Some(url.clone());
        Ok(url)
    }
}

/// What a value is made of. The age of the oldest message is a metric and no attribute.
fn attributes(value: QueueValue) -> Vec<QueueAttributeName> {
    use QueueAttributeName::{
        ApproximateNumberOfMessages as Waiting, ApproximateNumberOfMessagesDelayed as Delayed,
        ApproximateNumberOfMessagesNotVisible as AtWork,
    };
    match value {
        QueueValue::Depth | QueueValue::Age => vec![Waiting],
        QueueValue::InFlight => vec![AtWork],
        QueueValue::Delayed => vec![Delayed],
        QueueValue::Unfinished => vec![Waiting, AtWork],
        QueueValue::All => vec![Waiting, AtWork, Delayed],
    }
}

/// # Errors
/// When no region is known, or SQS does not answer in time, or knows no such queue.
#[async_trait]
impl Ask for QueueReader {
    async fn ask(&mut self) -> Result<Sample, SourceFault> {
        let limit = self.timeout;
        let asked = tokio::time::timeout(limit, self.read()).await;
        asked
            .unwrap_or(Err(SourceFault::Slow(limit)))
            .map(Sample::new)
    }
}

fn fault<E>(error: &SdkError<E>) -> SourceFault
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let code = error.as_service_error().and_then(E::code);
    let is_absent = code.is_some_and(|code| {
        code.ends_with("NonExistentQueue") || code.ends_with("QueueDoesNotExist")
    });
    match is_absent {
        true => SourceFault::NoQueue,
        false => SourceFault::Aws(reason(error)),
    }
}
