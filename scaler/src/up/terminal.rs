//! The terminal of `up`: short lines with the time since the start.

use std::io::Write;

use crate::clock::Clock;
use crate::event::{Event, EventSink, Severity};

#[derive(Clone, Debug)]
pub struct Terminal {
    clock: Clock,
    /// Which of several fleets speaks.
    fleet: Option<String>,
}

impl Terminal {
    pub fn new(clock: Clock) -> Terminal {
        Terminal { clock, fleet: None }
    }

    /// The terminal for one of several fleets.
    pub fn of_fleet(&self, fleet: Option<String>) -> Terminal {
        let clock = self.clock.clone();
        Terminal { clock, fleet }
    }

    /// One line, or several that belong together.
    pub fn say(&self, text: &str) {
        let seconds = self.clock.since_start().as_secs();
        print(&format!("{seconds:>5}s  {text}"));
    }

    /// Text that stands by itself.
    pub fn greet(&self, text: &str) {
        print(text);
    }
}

impl EventSink for Terminal {
    fn emit(&mut self, event: &Event) {
        let fleet = self.fleet.as_ref().map(|name| format!("{name}: "));
        let fleet = fleet.unwrap_or_default();
        match event.severity() {
            Severity::Info => self.say(&format!("{fleet}{event}")),
            Severity::Warning => self.say(&format!("! {fleet}{event}")),
        }
    }
}

/// A terminal that is gone is no reason to stop serving.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
