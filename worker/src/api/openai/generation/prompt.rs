//! A prompt's text read into tokens, if it can fit.
//!
//! The library holds up to two hundred bytes for each byte of a text that it reads whole. A long
//! text is therefore counted first, piece by piece, up to where it is certain that the model cannot
//! read it; only one that may fit is read whole.

use super::too_long;
use crate::api::app::Generating;
use crate::api::error::{ApiError, Fault};
use crate::api::inference::Arrived;
use crate::models::leading_pieces;

/// Longer texts are counted before they are read.
const COUNTED_BYTES: usize = 32 << 10;

/// Bytes of a piece.
const PIECE_BYTES: usize = 8 << 10;

/// Tokens that a piece may have beyond its share of the whole text, because words are cut at its ends.
const CUT_TOKENS: usize = 8;

/// The tokens of a text that a prompt begins with or is.
pub fn tokens(generating: &Generating, body: &Arrived, text: &str) -> Result<Vec<u32>, ApiError> {
    if text.len() > COUNTED_BYTES {
        count(generating, body, text)?;
    }
    let tokens = generating.tokenizer.encode(text);
    tokens.map_err(|error| ApiError::new(Fault::Tokenizer, error.to_string()))
}

/// Refuses a text that has certainly more tokens than the model reads.
fn count(generating: &Generating, body: &Arrived, text: &str) -> Result<(), ApiError> {
    let mut certain = 0;
    for piece in leading_pieces(text, PIECE_BYTES) {
        body.awaited()?;
        let tokens = generating.tokenizer.pieces(piece);
        let tokens = tokens.map_err(|error| ApiError::new(Fault::Tokenizer, error.to_string()))?;
        certain += tokens.len().saturating_sub(CUT_TOKENS);
        if certain > generating.context {
            return Err(too_long(generating, &format!("at least {certain}"), None));
        }
    }
    Ok(())
}
