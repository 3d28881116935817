//! Keys of the terminal.

use std::io;

use termion::event::Key as Pressed;
use termion::input::TermRead;
use tokio::sync::mpsc::{Receiver, channel};

/// Keys that nobody has taken yet.
const AHEAD: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Quit,
    NextPart,
    PreviousPart,
    NextFleet,
    Up,
    Down,
    PageUp,
    PageDown,
}

impl Key {
    fn of(pressed: Pressed) -> Option<Key> {
        Some(match pressed {
            Pressed::Char('q') | Pressed::Esc | Pressed::Ctrl('c') => Key::Quit,
            Pressed::Char('\t') | Pressed::Right => Key::NextPart,
            Pressed::BackTab | Pressed::Left => Key::PreviousPart,
            Pressed::Char('f') => Key::NextFleet,
            Pressed::Up => Key::Up,
            Pressed::Down => Key::Down,
            Pressed::PageUp => Key::PageUp,
            Pressed::PageDown => Key::PageDown,
            _ => return None,
        })
    }
}

/// The keys from now on. The thread that reads them waits in the terminal's read, and ends with the
/// process.
pub fn follow() -> Receiver<Key> {
    let (keys, pressed) = channel(AHEAD);
    std::thread::spawn(move || {
        let all = io::stdin().keys().map_while(Result::ok);
        for key in all.filter_map(Key::of) {
            if keys.blocking_send(key).is_err() {
                return;
            }
        }
    });
    pressed
}
