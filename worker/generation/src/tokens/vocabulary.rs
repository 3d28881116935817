//! What the tokens of a vocabulary are: their bytes, and which of them are no text.

use std::collections::HashMap;

/// What a token stands for. The numbers are those of `tokenizer.ggml.token_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A piece of text.
    Text,
    /// Shapes the text and is not part of it: begin, end, turns of a chat.
    Control,
    /// Found in a text before it is cut into pieces.
    Added,
    /// One byte.
    Byte,
    Unused,
}

/// All tokens, in one buffer: a vocabulary has up to 262,144.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    roles: Vec<Role>,
}

impl Role {
    pub(crate) fn from_gguf(number: u64) -> Role {
        match number {
            3 | 2 => Role::Control,
            4 => Role::Added,
            5 => Role::Unused,
            6 => Role::Byte,
            _ => Role::Text,
        }
    }
}

impl Vocabulary {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// What a token adds to a text; nothing for one that is not there.
    pub fn bytes(&self, token: u32) -> &[u8] {
        let index = token as usize;
        let Some(&end) = self.ends.get(index) else {
            return &[];
        };
        let start = match index {
            0 => 0,
            _ => self.ends[index - 1],
        };
        &self.bytes[start as usize..end as usize]
    }

    pub fn role(&self, token: u32) -> Role {
        let role = self.roles.get(token as usize);
        role.copied().unwrap_or(Role::Unused)
    }

    pub(crate) fn push(&mut self, bytes: &[u8], role: Role) {
        self.bytes.extend(bytes);
        self.ends.push(self.bytes.len() as u32);
        self.roles.push(role);
    }
}

/// The bytes that byte-level BPE writes as other letters (GPT-2's encoder.py): printable ones stand
/// for themselves, the others for letters from U+0100 on.
pub(crate) fn byte_letters() -> HashMap<char, u8> {
    let printable = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut next = 0x100;
    let letters = (0..=255u8).map(|byte| {
        let letter = match printable(byte) {
            true => char::from(byte),
            false => {
                next += 1;
                char::from_u32(next - 1).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
        };
        (letter, byte)
    });
    letters.collect()
}

/// The bytes of a token of byte-level BPE. A letter that stands for no byte is itself.
pub(crate) fn from_letters(token: &str, letters: &HashMap<char, u8>, into: &mut Vec<u8>) {
    for letter in token.chars() {
        match letters.get(&letter) {
            Some(&byte) => into.push(byte),
            None => into.extend(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// The byte of a token that is written `<0x0A>`.
pub(crate) fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    match digits.len() {
        2 => u8::from_str_radix(digits, 16).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_letter_of_its_own() {
        let letters = byte_letters();
        assert_eq!(letters.len(), 256);
        assert_eq!(letters[&'Ġ'], b' ');
        assert_eq!(letters[&'Ċ'], b'\n');
        assert_eq!(letters[&'a'], b'a');
        let mut bytes = Vec::new();
        from_letters("ĠcafÃ©", &letters, &mut bytes);
        assert_eq!(bytes, " café".as_bytes());
    }

    #[test]
    fn byte_tokens_are_two_hexadecimal_digits() {
        assert_eq!(byte_token("<0x0A>"), Some(10));
        assert_eq!(byte_token("<0x0AB>"), None);
        assert_eq!(byte_token("<s>"), None);
    }
}
