//! Progress on a terminal: rate and time left.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::journal::Counts;

const EVERY: Duration = Duration::from_millis(250);

/// The rate is that of the last so many looks: ten seconds.
const LOOKS: usize = 40;

const BAR: usize = 24;

/// Shows the progress until the batch drops its end of it. Quiet when nobody watches.
pub async fn show(mut progress: watch::Receiver<Counts>, total: u32) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let mut looks: Vec<(Instant, u32)> = Vec::new();
    let mut interval = tokio::time::interval(EVERY);
    loop {
        let counts = *progress.borrow_and_update();
        let done = counts.output + counts.error;
        looks.push((Instant::now(), done));
        if looks.len() > LOOKS {
            looks.remove(0);
        }
        print(&line(done, total, counts.error, rate(&looks)));
        if progress.has_changed().is_err() {
            print("");
            return;
        }
        interval.tick().await;
    }
}

fn print(text: &str) {
    let mut out = std::io::stderr().lock();
    // Back to the begin of the line, and clear it.
    let _ = write!(out, "\r\x1b[K{text}").and_then(|()| out.flush());
}

fn rate(looks: &[(Instant, u32)]) -> Option<f64> {
    let ((first, before), (last, now)) = (looks.first()?, looks.last()?);
    let seconds = last.duration_since(*first).as_secs_f64();
    (seconds > 1.0 && now > before).then(|| f64::from(now - before) / seconds)
}

fn line(done: u32, total: u32, failed: u32, rate: Option<f64>) -> String {
    let share = f64::from(done) / f64::from(total.max(1));
    let filled = (share * BAR as f64) as usize;
    let bar = format!("{}{}", "#".repeat(filled), ".".repeat(BAR - filled));
    let failed = match failed {
        0 => String::new(),
        failed => format!(", {failed} failed"),
    };
    let speed = match rate {
        Some(rate) => {
            let left = Duration::from_secs_f64(f64::from(total - done) / rate);
            format!(", {rate:.1} a second, {} left", span(left))
        }
        None => String::new(),
    };
    format!("[{bar}] {done} of {total}{failed}{speed}")
}

fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_rate_and_time_left() {
        assert_eq!(
            line(500, 1000, 0, Some(4.0)),
            "[############............] 500 of 1000, 4.0 a second, 2 min 5 s left"
        );
        assert_eq!(line(0, 0, 0, None), "[........................] 0 of 0");
        assert_eq!(
            line(9, 9, 2, Some(0.5)),
            "[########################] 9 of 9, 2 failed, 0.5 a second, 0 s left"
        );
    }
}
