//! Dates for templates that tell the model what day it is: strftime's common letters, in UTC.

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] = [
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
];

/// Writes `now`, in seconds since 1970, as `format` says. Letters that are not known stay.
pub(super) fn format(format: &str, now: u64) -> String {
    let days = now / 86_400;
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (now / 3600 % 24, now / 60 % 60, now % 60);
    let month_name = MONTHS[(month - 1) as usize % 12];
    let day_name = DAYS[(days % 7) as usize];
    let mut text = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let written = match letters.next() {
            Some('Y') => format!("{year}"),
            Some('y') => format!("{:02}", year % 100),
            Some('m') => format!("{month:02}"),
            Some('d') => format!("{day:02}"),
            Some('B') => month_name.to_owned(),
            Some('b') => month_name[..3].to_owned(),
            Some('A') => day_name.to_owned(),
            Some('a') => day_name[..3].to_owned(),
            Some('H') => format!("{hour:02}"),
            Some('M') => format!("{minute:02}"),
            Some('S') => format!("{second:02}"),
            Some('%') => "%".to_owned(),
            Some(other) => format!("%{other}"),
            None => "%".to_owned(),
        };
        text.push_str(&written);
    }
    text
}

/// Year, month and day of a day counted from 1970-01-01 (the proleptic Gregorian calendar, by eras
/// of 400 years that begin in March, as in H. Hinnant's chrono-compatible date algorithms).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::format;

    #[test]
    fn days_are_named_rightly() {
        assert_eq!(
            format("%A %d %B %Y %H:%M:%S", 0),
            "Thursday 01 January 1970 00:00:00"
        );
        assert_eq!(format("%a %d %b %y", 951_782_400), "Tue 29 Feb 00");
        assert_eq!(
            format("%Y-%m-%d 100%% %Q%", 1_735_689_599),
            "2024-12-31 100% %Q%"
        );
    }
}
