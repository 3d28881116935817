//! `[[schedule]]`: a least number of workers at set times.

use std::str::FromStr;

use chrono_tz::Tz;
use croner::Cron;
use serde::Deserialize;
use tidegate_config::{Duration, Problem};

use super::{FleetRules, check_at_least_a_second, quoted};

const LONGEST_SPAN: Duration = Duration::from_secs(7 * 24 * 3600);
const LONGEST_RAMP: Duration = Duration::from_secs(24 * 3600);

/// `[[schedule]]`: from each time that `cron` names, at least so many workers for a while.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRule {
    /// How decisions call it.
    pub name: String,
    /// Minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// A zone of the IANA database, with its summer time.
    #[serde(default = "utc")]
    pub zone: String,
    /// How long they are kept.
    #[serde(rename = "for")]
    pub span: Duration,
    pub workers: u32,
    /// They grow to their number over this long before the time. They serve at the time in any
    /// case: launches are a lead time ahead.
    #[serde(default)]
    pub ramp: Duration,
}

fn utc() -> String {
    "UTC".to_owned()
}

impl ScheduleRule {
    pub(crate) fn zone(&self) -> Result<Tz, Problem> {
        let expected = "a zone of the IANA database, such as \"Europe/Berlin\"";
        Tz::from_str(&self.zone).map_err(|_| Problem::new("zone", quoted(&self.zone), expected))
    }

    pub(crate) fn cron(&self) -> Result<Cron, Problem> {
        Cron::from_str(&self.cron).map_err(|why| {
            let expected = format!("a cron pattern such as \"0 8 * * MON-FRI\": {why}");
            Problem::new("cron", quoted(&self.cron), expected)
        })
    }

    pub fn check(&self, fleet: &FleetRules) -> Result<(), Problem> {
        if self.name.is_empty() {
            return Err(Problem::new("name", quoted(""), "a name"));
        }
        if self.cron.split_whitespace().count() != 5 {
            let expected = "five fields, such as \"0 8 * * MON-FRI\"";
            return Err(Problem::new("cron", quoted(&self.cron), expected));
        }
        self.zone()?;
        self.cron()?;
        check_at_least_a_second("for", self.span)?;
        for (key, duration, longest) in [
            ("for", self.span, LONGEST_SPAN),
            ("ramp", self.ramp, LONGEST_RAMP),
        ] {
            if duration > longest {
                let expected = format!("at most \"{longest}\"");
                return Err(Problem::new(key, quoted(duration), expected));
            }
        }
        if self.workers == 0 || self.workers > fleet.max {
            let expected = format!("1 to fleet.max, which is {}", fleet.max);
            return Err(Problem::new("workers", self.workers, expected));
        }
        Ok(())
    }
}
