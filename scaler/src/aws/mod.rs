//! The scaler's calls to AWS. Only this module uses the SDK.

pub mod autoscaling;
pub mod client;
pub mod cloudwatch;
pub mod dynamo;
pub mod metric;
pub mod sign;
pub mod sqs;

/// What is logged unless told otherwise. The SDK warns at every try of what the failed call says
/// anyway.
pub const LOGGED: &str = "info,aws_config=error,aws_runtime=error";

use tidegate_policy::{CloudWatchRules, QueueValue, SourceRule};

use self::cloudwatch::CloudWatch;
use self::metric::MetricReader;
use self::sign::Signer;
use self::sqs::QueueReader;
use crate::publish::{Emf, Outlet};
use crate::sources::{Ask, PageReader, Sign};
use aws_sdk_cloudwatch::error::{ProvideErrorMetadata, SdkError};

/// Why a call failed, in one line: the service's code and words, or what lies at the bottom of
/// the client's error.
pub fn reason<E, R>(error: &SdkError<E, R>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    if let Some(said) = error.as_service_error() {
        let (code, message) = (said.code(), said.message());
        let code = code.unwrap_or("an error without a code");
        return match message {
            Some(message) => format!("{code}: {message}"),
            None => code.to_owned(),
        };
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        let words = deeper.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        cause = deeper.source();
    }
    text
}

/// The reader of a source, whether it is AWS's or a page.
pub fn connect(rule: &SourceRule) -> Box<dyn Ask> {
    let (timeout, fresh_for) = (rule.timeout.into(), rule.fresh_for.into());
    match (&rule.cloudwatch, &rule.sqs) {
        (Some(metric), _) => Box::new(MetricReader::new(metric, timeout, fresh_for)),
        (_, Some(queue)) if queue.value == QueueValue::Age => {
            Box::new(MetricReader::new(&queue.age(), timeout, fresh_for))
        }
        (_, Some(queue)) => Box::new(QueueReader::new(queue, timeout)),
        (None, None) => {
            let signer = rule.sigv4.as_ref().map(|sign| Signer::new(sign, timeout));
            let signer = signer.map(|signer| Box::new(signer) as Box<dyn Sign>);
            Box::new(PageReader::new(rule, signer))
        }
    }
}

/// Where the scaler's numbers go by these rules.
pub fn outlet(rules: &CloudWatchRules) -> Box<dyn Outlet> {
    match &rules.emf {
        Some(target) => Box::new(Emf::new(rules, target.clone())),
        None => Box::new(CloudWatch::new(rules)),
    }
}
