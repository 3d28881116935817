//! SentencePiece's BPE: of all pairs of neighbours whose join is a token, the one with the best
//! score is joined first (Kudo and Richardson 2018; sentencepiece's bpe_model.cc).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Pieces with their scores, and a token for each byte that no piece covers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spm {
    pieces: HashMap<Box<str>, (u32, f32)>,
    bytes: HashMap<u8, u32>,
    unknown: Option<u32>,
}

/// A stretch of the text that is one piece so far. Neighbours are linked by index.
struct Piece {
    start: usize,
    end: usize,
    before: usize,
    after: usize,
}

const NONE: usize = usize::MAX;

/// A possible join: the best score first, then the leftmost.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Join {
    score: i64,
    left: Reverse<usize>,
    right: usize,
    bytes: usize,
}

impl Spm {
    pub fn piece(&mut self, text: &str, id: u32, score: f32) {
        self.pieces.entry(text.into()).or_insert((id, score));
    }

    pub fn byte(&mut self, byte: u8, id: u32) {
        self.bytes.insert(byte, id);
    }

    pub fn unknown(&mut self, id: u32) {
        self.unknown = Some(id);
    }

    /// Appends the tokens of a text, whose spaces are marked already.
    pub fn encode(&self, text: &str, into: &mut Vec<u32>) {
        let mut pieces: Vec<Piece> = Vec::new();
        for (start, letter) in text.char_indices() {
            let index = pieces.len();
            pieces.push(Piece {
                start,
                end: start + letter.len_utf8(),
                before: index.wrapping_sub(1),
                after: index + 1,
            });
        }
        if let Some(last) = pieces.last_mut() {
            last.after = NONE;
        }
        let mut joins = BinaryHeap::new();
        for left in 0..pieces.len().saturating_sub(1) {
            joins.extend(self.join(text, &pieces, left, left + 1));
        }
        while let Some(join) = joins.pop() {
            let (left, right) = (join.left.0, join.right);
            // One of both was joined otherwise meanwhile.
            let stale = pieces[left].after != right
                || pieces[right].end - pieces[left].start != join.bytes
                || pieces[left].end != pieces[right].start;
            if stale {
                continue;
            }
            let after = pieces[right].after;
            pieces[left].end = pieces[right].end;
            pieces[left].after = after;
            // Empty from now on.
            pieces[right].start = pieces[right].end;
            pieces[right].after = NONE;
            if after != NONE {
                pieces[after].before = left;
                joins.extend(self.join(text, &pieces, left, after));
            }
            let before = pieces[left].before;
            if before != NONE {
                joins.extend(self.join(text, &pieces, before, left));
            }
        }
        let joined = pieces.iter().filter(|piece| piece.start < piece.end);
        for piece in joined {
            self.emit(&text[piece.start..piece.end], into);
        }
    }

    fn join(&self, text: &str, pieces: &[Piece], left: usize, right: usize) -> Option<Join> {
        let (start, end) = (pieces[left].start, pieces[right].end);
        let &(_, score) = self.pieces.get(&text[start..end])?;
        Some(Join {
            score: ordered(score),
            left: Reverse(left),
            right,
            bytes: end - start,
        })
    }

    fn emit(&self, piece: &str, into: &mut Vec<u32>) {
        if let Some(&(id, _)) = self.pieces.get(piece) {
            into.push(id);
            return;
        }
        for byte in piece.bytes() {
            into.extend(self.bytes.get(&byte).copied().or(self.unknown));
        }
    }
}

/// A whole number that is ordered as the score is.
fn ordered(score: f32) -> i64 {
    let bits = i64::from(score.to_bits() as i32);
    if bits < 0 {
        i64::from(i32::MIN) - bits
    } else {
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Spm {
        let mut spm = Spm::default();
        let pieces = ["<unk>", "a", "b", "c", "ab", "bc", "abc", "ca"];
        let scores = [0.0, -1.0, -1.0, -1.0, -5.0, -2.0, -9.0, -3.0];
        for (id, (text, score)) in pieces.into_iter().zip(scores).enumerate() {
            spm.piece(text, id as u32, score);
        }
        spm.byte(0xC3, 100);
        spm.byte(0xA4, 101);
        spm.unknown(0);
        spm
    }

    fn tokens(text: &str) -> Vec<u32> {
        let mut tokens = Vec::new();
        model().encode(text, &mut tokens);
        tokens
    }

    #[test]
    fn the_best_score_is_joined_first() {
        // "bc" before "ab", then "a" + "bc".
        assert_eq!(tokens("abc"), [6]);
        // "ca" before "ab", though "ab" is further left in "abca".
        assert_eq!(tokens("bca"), [5, 1]);
        assert_eq!(tokens("aab"), [1, 4]);
        assert_eq!(tokens(""), [0u32; 0]);
    }

    #[test]
    fn what_is_no_piece_goes_by_bytes() {
        assert_eq!(tokens("aä"), [1, 100, 101]);
        assert_eq!(tokens("ab?"), [4, 0]);
    }

    #[test]
    fn scores_keep_their_order() {
        let scores = [f32::NEG_INFINITY, -2.0, -1.5, -0.0, 0.5, 3.0];
        assert!(
            scores
                .windows(2)
                .all(|pair| ordered(pair[0]) < ordered(pair[1]))
        );
    }
}
