//! The beginning of a call, as far as it is written: its name, and where its arguments begin.

/// What a text begins with.
#[derive(Debug, PartialEq, Eq)]
pub enum Head {
    /// A call of this name, whose arguments begin there.
    Call(String, usize),
    /// May become one.
    Open,
    /// Something else.
    Other,
}

/// Reads `{"name": NAME, "arguments": ` as far as it stands there.
pub fn head(text: &str) -> Head {
    let mut at = Cursor { text, at: 0 };
    let read = at.word("{").and_then(|()| at.word("\"name\""));
    let read = read.and_then(|()| at.word(":"));
    let name = match read.and_then(|()| at.string()) {
        Ok(name) => name,
        Err(head) => return head,
    };
    let read = at
        .word(",")
        .and_then(|()| at.either("\"arguments\"", "\"parameters\""));
    match read.and_then(|()| at.word(":")).and_then(|()| at.peek('{')) {
        Ok(()) => Head::Call(name, at.at),
        Err(head) => head,
    }
}

/// A place in a text that is read word by word, space between them left out.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl Cursor<'_> {
    fn rest(&mut self) -> &str {
        let rest = self.text[self.at..].trim_start();
        self.at = self.text.len() - rest.len();
        rest
    }

    fn word(&mut self, word: &str) -> Result<(), Head> {
        let rest = self.rest();
        if rest.starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        Err(match word.starts_with(rest) {
            true => Head::Open,
            false => Head::Other,
        })
    }

    fn either(&mut self, one: &str, other: &str) -> Result<(), Head> {
        match self.word(one) {
            Err(Head::Other) => self.word(other),
            read => read,
        }
    }

    fn peek(&mut self, letter: char) -> Result<(), Head> {
        match self.rest().chars().next() {
            None => Err(Head::Open),
            Some(found) if found == letter => Ok(()),
            Some(_) => Err(Head::Other),
        }
    }

    fn string(&mut self) -> Result<String, Head> {
        self.peek('"')?;
        let rest = self.rest();
        let mut escaped = false;
        let end = rest.bytes().skip(1).position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let Some(end) = end else {
            return Err(Head::Open);
        };
        let read = serde_json::from_str(&rest[..end + 2]).map_err(|_| Head::Other);
        self.at += end + 2;
        read
    }
}
