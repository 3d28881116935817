//! Points in time as traces write them.

/// Seconds: a plain number, or `YYYY-MM-DD HH:MM:SS` with an optional fraction (a `T` between
/// date and time and a final `Z` are accepted). Only differences mean anything, so no time zone
/// is applied.
pub(super) fn seconds(text: &str) -> Option<f64> {
    let number = text.parse::<f64>().ok().filter(|value| value.is_finite());
    number.or_else(|| calendar(text))
}

fn calendar(text: &str) -> Option<f64> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = text.split_once([' ', 'T'])?;
    let mut date = date.splitn(3, '-');
    let year: i64 = digits(date.next()?)?;
    let month = digits(date.next()?).filter(|month| (1..=12).contains(month))?;
    let day = digits(date.next()?).filter(|day| (1..=31).contains(day))?;
    let mut time = time.splitn(3, ':');
    let hour = digits(time.next()?).filter(|hour| *hour < 24)?;
    let minute = digits(time.next()?).filter(|minute| *minute < 60)?;
    let second: f64 = time.next()?.parse().ok()?;
    if !(0.0..61.0).contains(&second) {
        return None;
    }
    let days = days_since_1970(year, month, day);
    Some(((days * 24 + hour) * 60 + minute) as f64 * 60.0 + second)
}

fn digits(text: &str) -> Option<i64> {
    let all = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| all)
}

/// Days of the proleptic Gregorian calendar (Hinnant, "chrono-compatible low-level date
/// algorithms"): years begin in March, so that the leap day is a year's last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year
        - 719_468
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
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "x",
            "inf",
            "2023-13-01 00:00:00",
            "2023-11-16",
            "2023-11-16 25:00:00",
        ] {
            assert_eq!(seconds(text), None, "{text:?}");
        }
    }
}
