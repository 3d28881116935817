//! Staffing by forecast, as an autoscaler.

use std::time::Duration;

use tidegate_line::Moment;

use crate::sim::{Autoscaler, Observed, Orders, Timing};
use crate::staffing::{Reading, Staffing, StaffingRules};

const PERIOD: Duration = Duration::from_secs(2);

/// Asks for what [`Staffing`] says that demand needs.
#[derive(Clone, Debug)]
pub struct Predictive {
    staffing: Staffing,
    begun: bool,
}

impl Predictive {
    pub fn new(rules: StaffingRules) -> Predictive {
        Predictive {
            staffing: Staffing::new(rules),
            begun: false,
        }
    }
}

impl Autoscaler for Predictive {
    fn timing(&self) -> Timing {
        Timing {
            period: PERIOD,
            lag: Duration::ZERO,
        }
    }

    fn tick(&mut self, now: Moment, observed: &Observed<'_>) -> Orders {
        if !self.begun {
            self.begun = true;
            let found = observed.serving + observed.booting;
            self.staffing.found(now, found);
        }
        let need = observed.sample.and_then(|sample| {
            self.staffing.read(Reading {
                at: sample.at,
                arrivals_total: sample.arrivals_total,
                in_flight_s: sample.in_flight_s,
                waiting_s: sample.waiting_s,
                waiting: sample.waiting,
            })
        });
        match need {
            Some(need) => Orders::Size(need.workers),
            None => Orders::Hold,
        }
    }
}
