//! The one place that reads the wall clock: objects carry seconds since 1970, as OpenAI's do; and times as
//! AWS writes them.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub fn unix_milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_millis() as u64
}

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// `2026-11-27T08:55:00.000Z` in whole seconds since 1970.
pub fn seconds_of_extended(date: &str) -> Option<u64> {
    let seconds = date.split_once('.').map_or(date, |(seconds, _)| seconds);
    let seconds = seconds.trim_end_matches('Z').replace(['-', ':'], "");
    seconds_of(&format!("{seconds}Z"))
}

/// `20261127T085500Z` in seconds since 1970.
pub fn seconds_of(date: &str) -> Option<u64> {
    let bytes = date.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' || !date.is_ascii() {
        return None;
    }
    let number = |from: usize, to: usize| date[from..to].parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
    if !(1..=12).contains(&month) {
        return None;
    }
    // Days from civil, by years that begin in March (Hinnant).
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let seconds = (days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second;
    u64::try_from(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds() {
        assert_eq!(seconds_of("19700101T000000Z"), Some(0));
        assert_eq!(seconds_of("20000229T120000Z"), Some(951_825_600));
        assert_eq!(seconds_of("20261127T085500Z"), Some(1_795_769_700));
        for extended in ["2026-11-27T08:55:00.123Z", "2026-11-27T08:55:00Z"] {
            assert_eq!(seconds_of_extended(extended), Some(1_795_769_700));
        }
        for wrong in [
            "",
            "20261327T085500Z",
            "2026-11-27T08:55",
            "20261127T085500+",
        ] {
            assert_eq!(seconds_of(wrong), None, "{wrong}");
        }
    }
}
