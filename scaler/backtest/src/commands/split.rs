//! Which of the traces in tests/traces the law was chosen on.
//!
//! A constant that is kept because it does well on a trace says nothing about that trace any more. So
//! constants are chosen on some traces, and results are reported for the others: one record of requests,
//! one table of counts and one of rates at least on either side.

/// What a trace is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Chosen,
    /// All others are new to the law.
    Unseen,
}

/// Files in tests/traces.
const CHOSEN: [&str; 4] = [
    "azure-llm-2023-conv.csv",
    "nab-grok_asg_anomaly.csv",
    "nab-Twitter_volume_AAPL.csv",
    "servegen-mm-image-rate-10min.csv",
];

impl Part {
    /// By the file's name.
    pub fn of(trace: &str) -> Part {
        match CHOSEN.contains(&trace) {
            true => Part::Chosen,
            false => Part::Unseen,
        }
    }

    /// As the summary calls it.
    pub fn name(self) -> &'static str {
        match self {
            Part::Chosen => "Traces that the law was chosen on",
            Part::Unseen => "Traces that nothing was chosen on",
        }
    }
}
