//! Points in time as traces write them.

use chrono::{DateTime, FixedOffset, NaiveDateTime};

/// What of a column of times is a second, where they are plain numbers: a number of seconds as
/// large as these would lie thousands of years ahead, so it counts smaller parts since 1970.
const PARTS: [(f64, f64); 3] = [(1e17, 1e9), (1e14, 1e6), (1e11, 1e3)];

/// No trace is of a time that many seconds after 1970, in the year 5138.
const LATEST: f64 = 1e11;

/// Dates with a time of day; a `T` between the two is a space by then.
const FORMS: [&str; 4] = [
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y/%m/%d %H:%M:%S%.f",
    "%Y/%m/%d %H:%M",
];

/// Seconds: a plain number, which says its unit by its size, or a date and a time of day. Without
/// a zone the latter is read as UTC: only differences mean anything.
pub(super) fn seconds(text: &str) -> Option<f64> {
    match number(text) {
        Some(number) => Some(number / parts(number)).filter(|at| at.abs() < LATEST),
        None => calendar(text),
    }
}

/// A plain number.
pub(super) fn number(text: &str) -> Option<f64> {
    let number = text.parse::<f64>().ok();
    number.filter(|number| number.is_finite())
}

/// How many of a number's units are a second: 1 for seconds, 1000 for milliseconds and so on.
pub(super) fn parts(number: f64) -> f64 {
    let found = PARTS.iter().find(|(least, _)| number.abs() >= *least);
    found.map_or(1.0, |(_, parts)| *parts)
}

fn calendar(text: &str) -> Option<f64> {
    let text = match text.split_once(['T', 't']) {
        Some((date, time)) if !date.contains(' ') => format!("{date} {time}"),
        _ => text.to_owned(),
    };
    let text = text
        .trim_end_matches(" UTC")
        .trim_end_matches(['Z', 'z'])
        .trim();
    let naive = FORMS
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let since_1970 = |at: DateTime<FixedOffset>| {
        at.timestamp() as f64 + f64::from(at.timestamp_subsec_nanos()) / 1e9
    };
    let zoned = || {
        let mut forms = FORMS.iter().flat_map(|form| {
            let ends = ["%#z", " %#z"];
            ends.map(|end| format!("{form}{end}"))
        });
        forms.find_map(|form| DateTime::parse_from_str(text, &form).ok())
    };
    let at = naive.map(|at| at.and_utc().fixed_offset()).or_else(zoned);
    at.map(since_1970)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_to_the_fraction() {
        assert_eq!(seconds("12.5"), Some(12.5));
        assert_eq!(seconds("1970-01-02 00:00:01"), Some(86_401.0));
        assert_eq!(seconds("2024-03-01T00:00:00Z"), Some(1_709_251_200.0));
        let found = seconds("2023-11-16 18:15:46.6805900").expect("it is a time");
        assert!((found - 1_700_158_546.680_59).abs() < 1e-6);
    }

    #[test]
    fn numbers_say_their_unit_and_times_their_zone() {
        for text in [
            "1700158546",
            "1700158546000",
            "1700158546000000",
            "1700158546000000000",
            "2023-11-16 18:15:46",
            "2023-11-16 18:15:46 UTC",
            "2023-11-16T19:15:46+01:00",
            "2023-11-16T13:15:46-0500",
            "2023-11-16 23:45:46 +05:30",
            "2023/11/16 18:15:46",
            "2023-11-16t18:15:46z",
        ] {
            assert_eq!(seconds(text), Some(1_700_158_546.0), "{text}");
        }
        assert_eq!(seconds("2023-11-16 18:15"), Some(1_700_158_500.0));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "x",
            "inf",
            "2023-13-01 00:00:00",
            "2023-11-16",
            "2023-11-16 25:00:00",
            "11/16/2023 18:15:46",
            "99999999999999999999",
        ] {
            assert_eq!(seconds(text), None, "{text:?}");
        }
    }
}
