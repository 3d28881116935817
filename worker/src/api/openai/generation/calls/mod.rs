//! Calls of functions in an answer, found while it grows: what of it is text, where a call begins,
//! and its arguments as they come.
//!
//! A call is JSON with a name and arguments, between marks or as all of the answer. What only looks
//! like one is text. The parts of an answer are the same however it is cut.

mod head;

use serde::Deserialize;
use serde_json::{Value, json};

use self::head::{Head, head};
use super::id;

pub const OPEN: &str = "<tool_call>";
pub const CLOSE: &str = "</tool_call>";

/// Reads one answer.
#[derive(Debug)]
pub struct CallReader {
    /// Of the functions that are offered.
    names: Vec<String>,
    /// What is not told apart yet.
    held: String,
    state: State,
    /// Whether any text has been told.
    text: bool,
    calls: usize,
    /// Nothing but space has come since the last call.
    behind_call: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Text,
    /// Behind a mark, or at the beginning of an answer that is a call as a whole.
    Head {
        marked: bool,
    },
    Arguments(Scan),
    /// Behind a call's arguments.
    Tail,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Text(String),
    /// A call begins; its arguments follow.
    Call {
        index: usize,
        call: ToolCall,
    },
    /// More of its arguments.
    Arguments {
        index: usize,
        text: String,
    },
}

/// A call that a model wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// JSON, as text, as it was written.
    pub arguments: String,
}

#[derive(Deserialize)]
struct Written {
    name: String,
    #[serde(alias = "parameters")]
    arguments: Value,
}

/// How far an object of JSON is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Scan {
    depth: usize,
    quoted: bool,
    escaped: bool,
}

impl CallReader {
    pub fn new(names: Vec<String>) -> CallReader {
        CallReader {
            names,
            held: String::new(),
            state: State::Text,
            text: false,
            calls: 0,
            behind_call: false,
        }
    }

    /// Calls that have begun.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// Takes more of the answer, and tells what it knows by now.
    pub fn push(&mut self, text: &str) -> Vec<Part> {
        self.held += text;
        self.parts(false)
    }

    /// Tells the rest: nothing follows.
    pub fn end(&mut self) -> Vec<Part> {
        self.parts(true)
    }

    /// The text and the calls of a whole answer.
    pub fn whole(mut self, answer: &str) -> (String, Vec<ToolCall>) {
        let mut parts = self.push(answer);
        parts.extend(self.end());
        let (mut text, mut calls) = (String::new(), Vec::new());
        for part in parts {
            match part {
                Part::Text(part) => text += &part,
                Part::Call { call, .. } => calls.push(call),
                Part::Arguments { text, .. } => {
                    if let Some(ToolCall { arguments, .. }) = calls.last_mut() {
                        *arguments += &text;
                    }
                }
            }
        }
        (text, calls)
    }

    fn parts(&mut self, ended: bool) -> Vec<Part> {
        let mut parts = Vec::new();
        loop {
            let before = (self.state, self.held.len());
            match self.state {
                State::Text => self.in_text(ended, &mut parts),
                State::Head { marked } => self.in_head(marked, ended, &mut parts),
                State::Arguments(scan) => self.in_arguments(scan, &mut parts),
                State::Tail => self.in_tail(ended),
            }
            if before == (self.state, self.held.len()) {
                return parts;
            }
        }
    }

    fn tell(&mut self, text: String, parts: &mut Vec<Part>) {
        if !text.is_empty() {
            self.text = true;
            parts.push(Part::Text(text));
        }
    }

    /// Text goes as far as the next mark; space before a mark, and behind a call, is none.
    fn in_text(&mut self, ended: bool, parts: &mut Vec<Part>) {
        if !self.text && self.calls == 0 && self.held.trim_start().starts_with('{') {
            self.state = State::Head { marked: false };
            return;
        }
        if self.behind_call {
            self.held = self.held.trim_start().to_owned();
            self.behind_call = self.held.is_empty();
        }
        if let Some((before, behind)) = self.held.split_once(OPEN) {
            let (before, behind) = (before.trim_end().to_owned(), behind.to_owned());
            self.held = behind;
            self.state = State::Head { marked: true };
            return self.tell(before, parts);
        }
        let sure = match ended {
            true if self.calls > 0 => self.held.trim_end().len(),
            true => self.held.len(),
            false => sure(&self.held),
        };
        let rest = self.held.split_off(sure);
        let text = std::mem::replace(&mut self.held, rest);
        if ended {
            self.held.clear();
        }
        self.tell(text, parts);
    }

    fn in_head(&mut self, marked: bool, ended: bool, parts: &mut Vec<Part>) {
        match head(&self.held) {
            Head::Call(name, arguments) if self.names.contains(&name) => {
                self.held.drain(..arguments);
                self.state = State::Arguments(Scan::default());
                parts.push(self.call(name, String::new()));
            }
            Head::Open if !ended => {}
            // Written in another order, or no call at all: what it is shows at its end.
            _ => {
                let (inside, behind) = match self.held.split_once(CLOSE) {
                    Some((inside, behind)) if marked => (inside, Some(behind.to_owned())),
                    _ if ended => (&self.held[..], None),
                    _ => return,
                };
                let written = serde_json::from_str::<Written>(inside);
                match written {
                    Ok(Written { name, arguments }) if self.names.contains(&name) => {
                        parts.push(self.call(name, arguments.to_string()));
                        self.behind_call = true;
                    }
                    _ => {
                        let open = if marked { OPEN } else { "" };
                        let close = behind.as_ref().map_or("", |_| CLOSE);
                        let text = format!("{open}{inside}{close}");
                        self.tell(text, parts);
                    }
                }
                self.held = behind.unwrap_or_default();
                self.state = State::Text;
                // What follows a whole answer is nothing.
                self.text = true;
            }
        }
    }

    fn call(&mut self, name: String, arguments: String) -> Part {
        self.calls += 1;
        Part::Call {
            index: self.calls - 1,
            call: ToolCall {
                id: id("call"),
                name,
                arguments,
            },
        }
    }

    fn in_arguments(&mut self, mut scan: Scan, parts: &mut Vec<Part>) {
        let end = self.held.bytes().position(|byte| scan.ends(byte));
        let rest = match end {
            Some(end) => self.held.split_off(end + 1),
            None => String::new(),
        };
        let text = std::mem::replace(&mut self.held, rest);
        self.state = match end {
            Some(_) => State::Tail,
            None => State::Arguments(scan),
        };
        if !text.is_empty() {
            parts.push(Part::Arguments {
                index: self.calls - 1,
                text,
            });
        }
    }

    /// The end of the call's own object, and the mark behind it.
    fn in_tail(&mut self, ended: bool) {
        let rest = self.held.trim_start();
        let Some(rest) = rest
            .strip_prefix('}')
            .or((!rest.is_empty()).then_some(rest))
        else {
            if ended {
                self.held.clear();
            }
            return;
        };
        let rest = rest.trim_start();
        let behind = match rest.strip_prefix(CLOSE) {
            Some(behind) => behind,
            None if CLOSE.starts_with(rest) && !ended => return,
            None => rest,
        };
        self.held = behind.to_owned();
        self.state = State::Text;
        self.behind_call = true;
    }
}

impl ToolCall {
    pub fn json(&self) -> Value {
        json!({
            "id": self.id,
            "type": "function",
            "function": { "name": self.name, "arguments": self.arguments },
        })
    }
}

impl Scan {
    /// Whether the object ends with this byte.
    fn ends(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.quoted => self.escaped = true,
            b'"' => self.quoted = !self.quoted,
            _ if self.quoted => {}
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

/// Bytes of a text that are no part of a mark, nor of the space before one.
fn sure(text: &str) -> usize {
    let mut marks = (1..OPEN.len()).rev().map(|length| &OPEN[..length]);
    let mark = marks.find(|mark| text.ends_with(mark));
    let before = &text[..text.len() - mark.map_or(0, str::len)];
    before.trim_end().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader() -> CallReader {
        CallReader::new(vec!["add".to_owned(), "sub".to_owned()])
    }

    /// Text, and names with arguments, of an answer that comes whole and letter by letter.
    fn read(answer: &str) -> (String, Vec<(String, String)>) {
        let plain = |(text, calls): (String, Vec<ToolCall>)| {
            let calls = calls.into_iter().map(|call| (call.name, call.arguments));
            (text, calls.collect::<Vec<_>>())
        };
        let whole = plain(reader().whole(answer));
        let mut grown = reader();
        let mut letters = [0; 4];
        let mut parts: Vec<Part> = (answer.chars())
            .flat_map(|letter| grown.push(letter.encode_utf8(&mut letters)))
            .collect();
        parts.extend(grown.end());
        let (mut text, mut calls) = (String::new(), Vec::<(String, String)>::new());
        for part in parts {
            match part {
                Part::Text(part) => text += &part,
                Part::Call { call, .. } => calls.push((call.name, call.arguments)),
                Part::Arguments { index, text } => calls[index].1 += &text,
            }
        }
        assert_eq!((text, calls), whole, "{answer}");
        whole
    }

    fn call(name: &str, arguments: &str) -> (String, String) {
        (name.to_owned(), arguments.to_owned())
    }

    #[test]
    fn calls_are_found_bare_and_marked() {
        let bare = read(" {\"name\": \"add\", \"arguments\": {\"a\": \"}\\\"\"}}\n");
        assert_eq!(
            bare,
            (String::new(), vec![call("add", "{\"a\": \"}\\\"\"}")])
        );
        let marked = read(
            "Sure. <tool_call>\n{\"name\": \"sub\", \"arguments\": {}}\n</tool_call><tool_call>{\"name\":\"add\",\"parameters\":{\"a\":[{}]}}</tool_call> Done.",
        );
        let calls = vec![call("sub", "{}"), call("add", "{\"a\":[{}]}")];
        assert_eq!(marked, ("Sure.Done.".to_owned(), calls));
    }

    #[test]
    fn a_call_in_another_order_is_one() {
        let (text, calls) =
            read("<tool_call>{\"arguments\": {\"a\": 1}, \"name\": \"add\"}</tool_call>");
        assert_eq!(
            (text, calls),
            (String::new(), vec![call("add", "{\"a\":1}")])
        );
    }

    #[test]
    fn a_call_that_is_cut_has_the_arguments_so_far() {
        let (text, calls) = read("<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1");
        assert_eq!(
            (text, calls),
            (String::new(), vec![call("add", "{\"a\": 1")])
        );
    }

    #[test]
    fn what_only_looks_like_a_call_is_text() {
        for plain in [
            "{\"name\": \"other\", \"arguments\": {}}",
            "{\"answer\": 42}",
            "no call <tool_cal",
            "a < b <tool>",
            "<tool_call>broken</tool_call>",
            "<tool_call>{\"name\": \"a",
            "  spaces  ",
            "",
        ] {
            assert_eq!(read(plain), (plain.to_owned(), vec![]));
        }
    }

    #[test]
    fn text_is_told_at_once() {
        let mut reader = reader();
        assert_eq!(reader.push("Hello"), [Part::Text("Hello".to_owned())]);
        assert_eq!(reader.push(" <tool"), []);
        assert_eq!(reader.push("s>"), [Part::Text(" <tools>".to_owned())]);
    }
}
