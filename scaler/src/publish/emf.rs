//! Metrics as lines of JSON in CloudWatch's Embedded Metric Format, for an agent that carries
//! them: to standard output or to a file. No call to AWS, no credentials.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt;

use super::{Batch, Datum, Outlet, PutFault, Spread, Unit};
use tidegate_policy::{CloudWatchRules, EmfTarget};

/// The format's limits for one line.
const MOST_METRICS: usize = 100;
const MOST_VALUES: usize = 100;

/// A file that is larger is put aside as `FILE.1`, in place of the one before.
const LARGEST_FILE_BYTES: u64 = 16 << 20;

pub struct Emf {
    namespace: String,
    dimensions: BTreeMap<String, String>,
    resolution: u32,
    target: EmfTarget,
}

impl Emf {
    pub fn new(rules: &CloudWatchRules, target: EmfTarget) -> Emf {
        Emf {
            namespace: rules.namespace.clone(),
            dimensions: rules.dimensions.clone(),
            resolution: if rules.high_resolution { 1 } else { 60 },
            target,
        }
    }

    /// One line for each set of dimensions.
    fn lines(&self, batch: &Batch) -> Vec<String> {
        let mut groups: BTreeMap<_, Vec<&Datum>> = BTreeMap::new();
        for datum in &batch.data {
            groups.entry(datum.dimension).or_default().push(datum);
        }
        let lines = groups.into_iter().flat_map(|(dimension, data)| {
            let chunks: Vec<_> = data.chunks(MOST_METRICS).collect();
            let line = |data: &&[&Datum]| self.line(batch.at.as_ms(), dimension, data);
            chunks.iter().map(line).collect::<Vec<_>>()
        });
        lines.collect()
    }

    fn line(&self, at_ms: u64, own: Option<(&str, &str)>, data: &[&Datum]) -> String {
        let dimensions = self.dimensions.iter();
        let dimensions = dimensions.map(|(name, value)| (name.as_str(), value.as_str()));
        let dimensions: Vec<_> = dimensions.chain(own).collect();
        let names: Vec<&str> = dimensions.iter().map(|(name, _)| *name).collect();
        let metrics = data.iter().map(|datum| {
            let unit = unit(datum.unit);
            json!({ "Name": datum.name, "Unit": unit, "StorageResolution": self.resolution })
        });
        let directive = json!({
            "Namespace": self.namespace,
            "Dimensions": [names],
            "Metrics": metrics.collect::<Vec<_>>(),
        });
        let mut line = Map::new();
        let metadata = json!({ "Timestamp": at_ms, "CloudWatchMetrics": [directive] });
        line.insert("_aws".to_owned(), metadata);
        for (name, value) in dimensions {
            line.insert(name.to_owned(), value.into());
        }
        for datum in data {
            line.insert(datum.name.to_owned(), target_member(datum));
        }
        Value::Object(line).to_string() + "\n"
    }
}

/// One value alone, or the values with their counts.
fn target_member(datum: &Datum) -> Value {
    if let [(value, 1)] = datum.values.as_slice() {
        return json!(value);
    }
    let mut spread = Spread::default();
    for (value, count) in &datum.values {
        spread.add(*value, *count);
    }
    let pairs = spread.values_and_counts(MOST_VALUES);
    let (values, counts): (Vec<f64>, Vec<u64>) = pairs.iter().copied().unzip();
    json!({
        "Min": values.first(),
        "Max": values.last(),
        "Count": counts.iter().sum::<u64>(),
        "Sum": pairs.iter().map(|(value, count)| value * *count as f64).sum::<f64>(),
        "Values": values,
        "Counts": counts,
    })
}

fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "Count",
        Unit::Seconds => "Seconds",
        Unit::Milliseconds => "Milliseconds",
        Unit::None => "None",
    }
}

#[async_trait]
impl Outlet for Emf {
    async fn put(&mut self, batches: &[&Batch]) -> Result<(), PutFault> {
        let lines: String = batches.iter().flat_map(|batch| self.lines(batch)).collect();
        let written = match &self.target {
            EmfTarget::Stdout => print(&lines).await,
            EmfTarget::File(file) => append(file, &lines).await,
        };
        written.map_err(|error| PutFault::Away {
            why: error.to_string(),
        })
    }

    fn name(&self) -> String {
        match &self.target {
            EmfTarget::Stdout => "standard output".to_owned(),
            EmfTarget::File(file) => file.display().to_string(),
        }
    }
}

async fn print(lines: &str) -> io::Result<()> {
    let mut out = tokio::io::stdout();
    out.write_all(lines.as_bytes()).await?;
    out.flush().await
}

async fn append(file: &Path, lines: &str) -> io::Result<()> {
    let size = tokio::fs::metadata(file).await.map_or(0, |data| data.len());
    if size > LARGEST_FILE_BYTES {
        tokio::fs::rename(file, set_aside(file)).await?;
    }
    let mut options = tokio::fs::OpenOptions::new();
    let mut file = options.create(true).append(true).open(file).await?;
    file.write_all(lines.as_bytes()).await?;
    file.flush().await
}

fn set_aside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}
