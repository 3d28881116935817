//! CloudWatch takes the scaler's metrics, by `PutMetricData`.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};

use tidegate_policy::CloudWatchRules;

use super::client::{CallLimits, LazyClient};
use super::reason;
use crate::publish::{Batch, Datum, Outlet, PutFault, Unit};

/// Of one call; the task that sends has its own, longer limits.
const ATTEMPTS: u32 = 2;

/// What is wrong with the data themselves, so that sending them again is of no use.
const REFUSALS: [&str; 6] = [
    "InvalidParameterValue",
    "InvalidParameterValueException",
    "InvalidParameterCombination",
    "InvalidParameterCombinationException",
    "MissingParameter",
    "ValidationError",
];

/// Takes metrics by API. It connects with the first call.
pub struct CloudWatch {
    link: LazyClient<Client>,
    timeout: Duration,
    namespace: String,
    dimensions: BTreeMap<String, String>,
    resolution: i32,
}

impl CloudWatch {
    pub fn new(rules: &CloudWatchRules) -> CloudWatch {
        let timeout = rules.timeout.into();
        let limits = CallLimits {
            attempt: timeout / 2,
            call: timeout,
            attempts: ATTEMPTS,
        };
        CloudWatch {
            link: LazyClient::new(rules.endpoint(), limits, Client::new),
            timeout,
            namespace: rules.namespace.clone(),
            dimensions: rules.dimensions.clone(),
            resolution: if rules.high_resolution { 1 } else { 60 },
        }
    }

    fn datum(&self, at_ms: u64, datum: &Datum) -> MetricDatum {
        let own = datum.dimension;
        let own = own.map(|(name, value)| dimension(name, value));
        let dimensions = self.dimensions.iter();
        let dimensions = dimensions.map(|(name, value)| dimension(name, value));
        let (values, counts): (Vec<f64>, Vec<f64>) = (datum.values.iter())
            .map(|(value, count)| (*value, *count as f64))
            .unzip();
        MetricDatum::builder()
            .metric_name(datum.name)
            .unit(unit(datum.unit))
            .timestamp(DateTime::from_millis(at_ms as i64))
            .storage_resolution(self.resolution)
            .set_dimensions(Some(dimensions.chain(own).collect()))
            .set_values(Some(values))
            .set_counts(Some(counts))
            .build()
    }
}

fn dimension(name: &str, value: &str) -> Dimension {
    Dimension::builder().name(name).value(value).build()
}

fn unit(unit: Unit) -> StandardUnit {
    match unit {
        Unit::Count => StandardUnit::Count,
        Unit::Seconds => StandardUnit::Seconds,
        Unit::Milliseconds => StandardUnit::Milliseconds,
        Unit::None => StandardUnit::None,
    }
}

#[async_trait]
impl Outlet for CloudWatch {
    async fn put(&mut self, batches: &[&Batch]) -> Result<(), PutFault> {
        let data = batches.iter().flat_map(|batch| {
            let at = batch.at.as_ms();
            batch.data.iter().map(move |datum| (at, datum))
        });
        let data = data.map(|(at, datum)| self.datum(at, datum)).collect();
        let client = self.link.client().await;
        let client = client.map_err(|missing| {
            let why = missing.to_string();
            PutFault::Away { why }
        })?;
        // The SDK's own limits do not cover all that it does.
        let limit = self.timeout * 2;
        let call = async {
            let request = client.put_metric_data().namespace(&self.namespace);
            request.set_metric_data(Some(data)).send().await
        };
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(fault(&error)),
            Err(_) => Err(PutFault::Away {
                why: format!("no answer within {limit:?}"),
            }),
        }
    }

    fn name(&self) -> String {
        "CloudWatch".to_owned()
    }
}

fn fault<E>(error: &SdkError<E>) -> PutFault
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let code = error.as_service_error().and_then(E::code);
    let why = reason(error);
    match code.is_some_and(|code| REFUSALS.contains(&code)) {
        true => PutFault::Refused { why },
        false => PutFault::Away { why },
    }
}
