//! Samples for conformance tests, as a system would make that stood still between them.

use std::time::Duration;

use crate::sim::{Autoscaler, Observed, Orders, Sample};

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Feed {
    sample: Sample,
    in_flight: f64,
    waiting: f64,
    per_s: f64,
    seconds: f64,
}

impl Feed {
    /// The next sample comes so many seconds later, with the rates that are set from here on.
    pub fn after(&mut self, seconds: u64) -> &mut Feed {
        self.seconds = seconds as f64;
        self
    }

    pub fn in_flight(&mut self, mean: f64) -> &mut Feed {
        self.in_flight = mean;
        self
    }

    pub fn waiting(&mut self, mean: f64) -> &mut Feed {
        self.waiting = mean;
        self
    }

    pub fn per_s(&mut self, arrivals: f64) -> &mut Feed {
        self.per_s = arrivals;
        self
    }

    pub fn workers(&mut self, serving: u32, booting: u32) -> &mut Feed {
        self.sample.serving = serving;
        self.sample.booting = booting;
        self
    }

    pub fn sample(&mut self) -> Sample {
        let Feed { seconds, .. } = *self;
        self.sample.at += Duration::from_secs_f64(seconds);
        self.sample.in_flight_s += self.in_flight * seconds;
        self.sample.waiting_s += self.waiting * seconds;
        self.sample.serving_s += f64::from(self.sample.serving) * seconds;
        self.sample.arrivals_total += (self.per_s * seconds).round() as u64;
        self.sample.in_flight = self.in_flight as u32;
        self.sample.waiting = self.waiting as u32;
        self.sample
    }

    /// Shows the next sample to the autoscaler. What it asks for; `None` when it holds.
    pub fn ask(&mut self, autoscaler: &mut impl Autoscaler) -> Option<u32> {
        let sample = self.sample();
        let observed = Observed::new(Some(sample), sample.serving, sample.booting);
        match autoscaler.tick(sample.at, &observed) {
            Orders::Size(workers) => Some(workers),
            Orders::Hold | Orders::Moves(_) => None,
        }
    }

    /// Shows the same, every so many seconds, and returns all answers.
    pub fn repeat(
        &mut self,
        seconds: u64,
        times: usize,
        autoscaler: &mut impl Autoscaler,
    ) -> Vec<Option<u32>> {
        let answers = (0..times).map(|_| self.after(seconds).ask(autoscaler));
        answers.collect()
    }
}
