//! Which schedules ask for workers now. A cron pattern is searched once for each of its times.

use std::time::Duration;

use chrono::DateTime;
use chrono_tz::Tz;
use croner::Cron;

use crate::decision::{Ask, Basis};
use crate::{Policy, ScheduleRule, Time};

/// The schedules of a policy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calendar {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    rule: ScheduleRule,
    cron: Cron,
    zone: Tz,
    around: Option<Around>,
}

/// The times of a pattern around a moment.
#[derive(Clone, Copy, Debug)]
struct Around {
    searched: Time,
    /// Milliseconds since 1970, which may be before.
    last_ms: Option<i64>,
    next: Option<Time>,
}

impl Calendar {
    /// Rules that their check refuses are left out.
    pub fn of(policy: &Policy) -> Calendar {
        let entry = |rule: &ScheduleRule| {
            Some(Entry {
                rule: rule.clone(),
                cron: rule.cron().ok()?,
                zone: rule.zone().ok()?,
                around: None,
            })
        };
        Calendar {
            entries: policy.schedules.iter().filter_map(entry).collect(),
        }
    }

    /// What each schedule asks for that is at work, or a lead time from it.
    pub fn asks(&mut self, now: Time, lead_time: Duration) -> Vec<Ask> {
        let entries = self.entries.iter_mut();
        entries
            .filter_map(|entry| entry.ask(now, lead_time))
            .collect()
    }
}

impl Entry {
    fn ask(&mut self, now: Time, lead_time: Duration) -> Option<Ask> {
        let Around { last_ms, next, .. } = self.around(now);
        let span_ms = self.rule.span.as_millis() as i64;
        let left_ms = last_ms.map(|last_ms| last_ms + span_ms - now.as_ms() as i64);
        let left = left_ms.map(|left_ms| Duration::from_millis(left_ms.max(0) as u64));
        let (workers, basis) = match (left.filter(|left| !left.is_zero()), next) {
            (Some(left), _) => {
                let for_ms = left.as_millis() as u64;
                (self.rule.workers, Basis::Scheduled { for_ms })
            }
            (None, Some(next)) => {
                let (until, ramp) = (next.since(now), *self.rule.ramp);
                // Of what is launched now, the share of the ramp that is over when it serves.
                let serving = until.saturating_sub(lead_time);
                let share = match serving < ramp {
                    true => 1.0 - serving.as_secs_f64() / ramp.as_secs_f64(),
                    false if serving.is_zero() => 1.0,
                    false => return None,
                };
                let workers = (f64::from(self.rule.workers) * share).ceil() as u32;
                let in_ms = until.as_millis() as u64;
                (workers, Basis::Upcoming { in_ms })
            }
            (None, None) => return None,
        };
        Some(Ask {
            term: self.rule.name.clone(),
            workers: Some(workers),
            basis,
        })
    }

    fn around(&mut self, now: Time) -> Around {
        let holds =
            |around: &Around| around.searched <= now && around.next.is_none_or(|next| now < next);
        if let Some(around) = self.around.filter(holds) {
            return around;
        }
        let local = DateTime::from_timestamp_millis(now.as_ms() as i64)
            .map(|utc| utc.with_timezone(&self.zone));
        // What comes after a time since 1970 is not before 1970.
        let time = |found: DateTime<Tz>| Time::from_ms(found.timestamp_millis() as u64);
        let last = local.and_then(|local| self.cron.find_previous_occurrence(&local, true).ok());
        let next = local.and_then(|local| self.cron.find_next_occurrence(&local, false).ok());
        let around = Around {
            searched: now,
            last_ms: last.map(|found| found.timestamp_millis()),
            next: next.map(time),
        };
        self.around = Some(around);
        around
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(rule: &str) -> Calendar {
        let rule: ScheduleRule = toml::from_str(rule).expect("a rule");
        Calendar {
            entries: vec![Entry {
                cron: rule.cron().expect("a pattern"),
                zone: rule.zone().expect("a zone"),
                rule,
                around: None,
            }],
        }
    }

    /// Workers asked for at a time in UTC.
    fn asked(calendar: &mut Calendar, utc: &str) -> Option<u32> {
        let at = DateTime::parse_from_rfc3339(utc).expect("a time");
        let now = Time::from_ms(at.timestamp_millis() as u64);
        let asks = calendar.asks(now, Duration::from_secs(300));
        asks.first().and_then(|ask| ask.workers)
    }

    const OFFICE: &str = "name = 'office'\ncron = '0 8 * * MON-FRI'\nzone = 'Europe/Berlin'\n\
                          for = '10h'\nworkers = 8\n";

    #[test]
    fn a_schedule_asks_from_a_lead_time_before_its_time_to_its_end() {
        let mut office = calendar(OFFICE);
        for (utc, expected) in [
            ("2026-07-01T05:54:59Z", None),
            ("2026-07-01T05:55:00Z", Some(8)),
            ("2026-07-01T06:00:00Z", Some(8)),
            ("2026-07-01T15:59:59Z", Some(8)),
            ("2026-07-01T16:00:00Z", None),
            ("2026-07-04T09:00:00Z", None),
        ] {
            assert_eq!(asked(&mut office, utc), expected, "{utc}");
        }
    }

    #[test]
    fn it_goes_by_the_zones_clock_in_winter_and_summer() {
        let mut office = calendar(OFFICE);
        assert_eq!(asked(&mut office, "2026-01-07T06:30:00Z"), None);
        assert_eq!(asked(&mut office, "2026-01-07T07:00:00Z"), Some(8));
        assert_eq!(asked(&mut office, "2026-07-08T06:00:00Z"), Some(8));
        // The clock goes from 2 to 3 in the night of 29 March 2026: the pattern still has a time.
        let mut night = calendar(&OFFICE.replace("0 8 * * MON-FRI", "30 2 * * *"));
        assert_eq!(asked(&mut night, "2026-03-29T02:00:00Z"), Some(8));
    }

    #[test]
    fn what_began_before_1970_is_over_when_its_time_is() {
        let mut office = calendar(OFFICE);
        // A Thursday; Berlin was an hour ahead.
        for (utc, expected) in [
            ("1970-01-01T00:00:00Z", None),
            ("1970-01-01T07:00:00Z", Some(8)),
            ("1970-01-01T17:00:00Z", None),
        ] {
            assert_eq!(asked(&mut office, utc), expected, "{utc}");
        }
        let mut night = calendar(&OFFICE.replace("0 8 * * MON-FRI", "0 20 * * *"));
        assert_eq!(asked(&mut night, "1970-01-01T00:00:00Z"), Some(8));
        assert_eq!(asked(&mut night, "1970-01-01T05:00:00Z"), None);
    }

    #[test]
    fn a_ramp_grows_to_the_number_by_the_time() {
        let mut ramp = calendar(&format!("{OFFICE}ramp = '20m'\n"));
        for (utc, expected) in [
            ("2026-07-01T05:34:59Z", None),
            ("2026-07-01T05:36:00Z", Some(1)),
            ("2026-07-01T05:45:00Z", Some(4)),
            ("2026-07-01T05:55:00Z", Some(8)),
        ] {
            assert_eq!(asked(&mut ramp, utc), expected, "{utc}");
        }
    }
}
