//! A value from CloudWatch: the newest whole period of a metric, or of an expression.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{
    Dimension, Metric, MetricDataQuery, MetricDataResult, MetricStat, ScanBy,
};

use super::client::{Patience, sdk_config};
use super::reason;
use crate::sources::{MetricRule, Sample, SourceFault};

/// Reads one metric.
pub struct MetricReader {
    client: Client,
    query: MetricDataQuery,
    period: Duration,
    timeout: Duration,
}

impl MetricReader {
    pub async fn connect(rule: &MetricRule, timeout: Duration) -> MetricReader {
        let config = sdk_config(&rule.place(), Patience::once(timeout)).await;
        MetricReader {
            client: Client::new(&config),
            query: query(rule),
            period: rule.period.into(),
            timeout,
        }
    }

    /// The value of the newest whole period, if it ended within `fresh_for`.
    ///
    /// # Errors
    /// When CloudWatch does not answer in time, or with no such value, or with several.
    pub async fn ask(&self, fresh_for: Duration) -> Result<Sample, SourceFault> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let (start, end) = span(now, self.period, fresh_for);
        let call = self
            .client
            .get_metric_data()
            .metric_data_queries(self.query.clone())
            .start_time(DateTime::from_secs(start as i64))
            .end_time(DateTime::from_secs(end as i64))
            .scan_by(ScanBy::TimestampDescending)
            .send();
        let answer = tokio::time::timeout(self.timeout, call).await;
        let answer = answer.map_err(|_| SourceFault::Slow(self.timeout))?;
        let answer = answer.map_err(|error| SourceFault::Aws(reason(&error)))?;
        newest(answer.metric_data_results(), now, self.period)?
            .ok_or(SourceFault::NoData(fresh_for))
    }
}

/// From and to when whole periods are asked for, in seconds since the epoch.
fn span(now: Duration, period: Duration, fresh_for: Duration) -> (u64, u64) {
    let period = period.as_secs().max(1);
    let end = now.as_secs() / period * period;
    let periods = fresh_for.as_secs().div_ceil(period) + 1;
    (end.saturating_sub(periods * period), end)
}

fn query(rule: &MetricRule) -> MetricDataQuery {
    let period = rule.period.as_secs() as i32;
    let query = MetricDataQuery::builder().id("value").return_data(true);
    if let Some(expression) = &rule.expression {
        return query.expression(expression).period(period).build();
    }
    let dimensions = rule.dimensions.iter();
    let dimensions = dimensions.map(|(name, value)| {
        let dimension = Dimension::builder().name(name).value(value);
        dimension.build()
    });
    let metric = Metric::builder()
        .set_namespace(rule.namespace.clone())
        .set_metric_name(rule.metric.clone())
        .set_dimensions(Some(dimensions.collect()))
        .build();
    let stat = MetricStat::builder()
        .metric(metric)
        .period(period)
        .set_stat(rule.statistic.clone());
    query.metric_stat(stat.build()).build()
}

/// The newest of one series' values, and how long ago its period ended.
fn newest(
    results: &[MetricDataResult],
    now: Duration,
    period: Duration,
) -> Result<Option<Sample>, SourceFault> {
    let series: Vec<_> = (results.iter())
        .filter(|result| !result.values().is_empty())
        .collect();
    let series = match series.as_slice() {
        [] => return Ok(None),
        [series] => series,
        several => return Err(SourceFault::Series(several.len())),
    };
    let points = series.timestamps().iter().zip(series.values());
    let points = points.filter(|(_, value)| value.is_finite());
    let newest = points.max_by_key(|(at, _)| at.secs());
    Ok(newest.map(|(at, value)| {
        let ended = Duration::from_secs(at.secs().max(0) as u64) + period;
        Sample {
            value: *value,
            age: now.saturating_sub(ended),
        }
    }))
}
