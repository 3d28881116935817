//! Values as people read them, the same as on the status page.

use chrono::DateTime;

/// Where there is no value.
pub const NONE: &str = "–";

pub fn duration(ms: Option<f64>) -> String {
    let Some(ms) = ms else {
        return NONE.to_owned();
    };
    let seconds = ms / 1000.0;
    match seconds {
        ..1.0 => format!("{ms:.0} ms"),
        ..120.0 => format!("{seconds:.1} s"),
        ..7200.0 => format!("{:.0} min", seconds / 60.0),
        ..172_800.0 => format!("{:.0} h", seconds / 3600.0),
        _ => format!("{:.0} d", seconds / 86_400.0),
    }
}

pub fn milliseconds(ms: Option<u64>) -> String {
    duration(ms.map(|ms| ms as f64))
}

pub fn per_second(rate: Option<f64>) -> String {
    rate.map_or(NONE.to_owned(), |rate| format!("{rate:.1}"))
}

pub fn money(amount: Option<f64>) -> String {
    match amount {
        None => NONE.to_owned(),
        Some(amount) if amount >= 1.0 => format!("{amount:.2}"),
        Some(amount) => format!("{amount:.4}"),
    }
}

/// A moment, in milliseconds since 1970, as time of day (UTC).
pub fn time(ms: u64) -> String {
    let moment = i64::try_from(ms)
        .ok()
        .and_then(DateTime::from_timestamp_millis);
    moment.map_or(NONE.to_owned(), |moment| {
        moment.format("%H:%M:%S").to_string()
    })
}

pub fn count(number: u64, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        number => format!("{number} {many}"),
    }
}
