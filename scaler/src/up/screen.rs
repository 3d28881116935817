//! The terminal of `up`: short lines with the time since the start.

use std::io::Write;

use crate::clock::Clock;
use crate::event::{Event, Tell, Weight};

#[derive(Clone, Copy, Debug)]
pub struct Screen {
    clock: Clock,
}

impl Screen {
    pub fn new(clock: Clock) -> Screen {
        Screen { clock }
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

impl Tell for Screen {
    fn tell(&mut self, event: &Event) {
        match event.weight() {
            Weight::News => self.say(&event.to_string()),
            Weight::Trouble => self.say(&format!("! {event}")),
        }
    }
}

/// A terminal that is gone is no reason to stop serving.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
