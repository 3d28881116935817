//! A value from CloudWatch: the newest whole period of a metric, or of an expression.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{
    Dimension, Metric, MetricDataQuery, MetricDataResult, MetricStat, ScanBy, StatusCode,
};

use async_trait::async_trait;
use tidegate_policy::MetricRule;

use super::client::{CallLimits, LazyClient};
use super::reason;
use crate::sources::{Ask, Sample, SourceFault};

/// Reads one metric.
pub struct MetricReader {
    link: LazyClient<Client>,
    query: MetricDataQuery,
    period: Duration,
    timeout: Duration,
    fresh_for: Duration,
}

impl MetricReader {
    /// It connects with the first question.
    pub fn new(rule: &MetricRule, timeout: Duration, fresh_for: Duration) -> MetricReader {
        MetricReader {
            link: LazyClient::new(rule.endpoint(), CallLimits::once(timeout), Client::new),
            query: query(rule),
            period: rule.period.into(),
            timeout,
            fresh_for,
        }
    }

    /// The value of the newest whole period, if it ended within `fresh_for`.
    async fn read(&self, fresh_for: Duration) -> Result<Sample, SourceFault> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let (start, end) = span(now, self.period, fresh_for);
        let client = self.link.client().await;
        let client = client.map_err(|missing| SourceFault::Aws(missing.to_string()))?;
        let call = client
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

/// # Errors
/// When no region is known, or CloudWatch does not answer in time, or with no such value, or with
/// several.
#[async_trait]
impl Ask for MetricReader {
    async fn ask(&mut self) -> Result<Sample, SourceFault> {
        self.read(self.fresh_for).await
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
    let is_partial = series.status_code() == Some(&StatusCode::PartialData);
    Ok(newest.map(|(at, value)| {
        let ended = Duration::from_secs(at.secs().max(0) as u64) + period;
        Sample {
            value: *value,
            age: now.saturating_sub(ended),
            is_partial,
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000_050);
    const PERIOD: Duration = Duration::from_secs(60);

    fn series(points: &[(i64, f64)]) -> MetricDataResult {
        let at = points.iter().map(|(at, _)| DateTime::from_secs(*at));
        let values = points.iter().map(|(_, value)| *value);
        MetricDataResult::builder()
            .set_timestamps(Some(at.collect()))
            .set_values(Some(values.collect()))
            .build()
    }

    #[test]
    fn the_newest_number_of_the_one_series_with_numbers_counts_from_its_end() {
        let both = [
            series(&[]),
            series(&[
                (999_900, 3.0),
                (999_960, 5.0),
                (999_840, 9.0),
                (1_000_000, f64::NAN),
            ]),
        ];
        let newest = newest(&both, NOW, PERIOD).expect("one series");
        let age = Duration::from_secs(30);
        let newest = newest.map(|sample| (sample.value, sample.age));
        assert_eq!(newest, Some((5.0, age)));
    }

    #[test]
    fn an_expression_of_several_series_gives_no_number() {
        let several = [series(&[(999_960, 1.0)]), series(&[(999_960, 2.0)])];
        let fault = newest(&several, NOW, PERIOD).expect_err("which of them?");
        assert_eq!(fault.to_string(), "it has 2 series, expected one");
        assert!(matches!(newest(&[], NOW, PERIOD), Ok(None)));
    }
}
