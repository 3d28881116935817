//! What a tokenizer.json may hold, looked at before the library parses it: some files make it take
//! memory without end, which no error catches.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::Value;

/// A text that is made longer than this, times its length, is not read for its meaning. Unicode's
/// own compatibility forms make eighteen characters of one.
const MOST_GROWTH: usize = 256;

/// Pieces of a frame, and ids of one special token.
const MOST_FRAME: usize = 64;

/// As far as it is looked at.
#[derive(Deserialize)]
struct Described {
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
}

/// Refuses what would take memory without end.
pub fn check(json: &[u8]) -> Result<(), String> {
    // The parser that reads it whole reports what is no JSON.
    let Ok(described) = serde_json::from_slice::<Described>(json) else {
        return Ok(());
    };
    let parts = [&described.normalizer, &described.pre_tokenizer];
    let mut growth = 1_usize;
    for part in parts.into_iter().flatten() {
        growth = growth.saturating_mul(growth_of(part)?);
    }
    if growth > MOST_GROWTH {
        return Err(format!(
            "its normalizer makes a text up to {growth} times as long; expected at most \
             {MOST_GROWTH}"
        ));
    }
    match &described.post_processor {
        Some(frame) => check_frame(frame),
        None => Ok(()),
    }
}

/// How many times longer a text may become.
fn growth_of(part: &Value) -> Result<usize, String> {
    let text = |key: &str| part.get(key).and_then(Value::as_str);
    let mut growth = match text("type") {
        Some("Replace") => {
            let content = text("content").map_or(0, str::len);
            let pattern = part.get("pattern");
            let fixed = pattern.and_then(|pattern| pattern.get("String")?.as_str());
            match fixed {
                Some(fixed) => content.div_ceil(fixed.len().max(1)),
                // An expression may match between two characters.
                None => content + 1,
            }
        }
        Some("Prepend") => text("prepend").map_or(0, str::len) + 1,
        Some("Precompiled") => precompiled(text("precompiled_charsmap"))?,
        _ => 1,
    };
    for list in ["normalizers", "pretokenizers"] {
        let parts = part.get(list).and_then(Value::as_array);
        for part in parts.into_iter().flatten() {
            growth = growth.saturating_mul(growth_of(part)?);
        }
    }
    Ok(growth.max(1))
}

/// A map of SentencePiece: the length of a table in bytes, the table, and the texts that it leads
/// to, each with a zero at its end.
fn precompiled(map: Option<&str>) -> Result<usize, String> {
    let damaged = || "the precompiled_charsmap of its normalizer is empty or damaged".to_owned();
    let map = BASE64.decode(map.ok_or_else(damaged)?);
    let map = map.map_err(|_| damaged())?;
    let (length, rest) = map.split_first_chunk::<4>().ok_or_else(damaged)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length == 0 || !length.is_multiple_of(4) || length > rest.len() {
        return Err(damaged());
    }
    let texts = rest[length..].split(|byte| *byte == 0);
    // A character that is replaced has at least one byte, most have three.
    Ok(texts.map(|text| text.len().div_ceil(3)).max().unwrap_or(1))
}

fn check_frame(part: &Value) -> Result<(), String> {
    let longest = ["single", "pair", "processors"]
        .into_iter()
        .filter_map(|list| part.get(list)?.as_array().map(Vec::len))
        .max();
    let special = part.get("special_tokens").and_then(Value::as_object);
    let ids = special.into_iter().flat_map(|tokens| tokens.values());
    let ids = ids.filter_map(|token| token.get("ids")?.as_array().map(Vec::len));
    let longest = longest.into_iter().chain(ids).max().unwrap_or(0);
    if longest > MOST_FRAME {
        return Err(format!(
            "its post_processor has a list of {longest}; expected at most {MOST_FRAME}"
        ));
    }
    let parts = part.get("processors").and_then(Value::as_array);
    parts.into_iter().flatten().try_for_each(check_frame)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(normalizer: Value) -> Result<(), String> {
        check(json!({ "normalizer": normalizer }).to_string().as_bytes())
    }

    fn replace(content: &str) -> Value {
        json!({ "type": "Replace", "pattern": { "String": "a" }, "content": content })
    }

    #[test]
    fn what_makes_texts_swell_is_refused() {
        assert!(checked(replace("b")).is_ok() && checked(Value::Null).is_ok());
        let hundred = replace(&"a".repeat(100));
        assert!(checked(hundred.clone()).is_ok());
        let twice = json!({ "type": "Sequence", "normalizers": [hundred, hundred] });
        let refused = checked(twice).expect_err("ten thousand times");
        assert!(refused.contains("10000 times"), "{refused}");
    }

    #[test]
    fn a_charsmap_that_lies_is_refused() {
        let map = |bytes: &[u8]| {
            let map = BASE64.encode(bytes);
            checked(json!({ "type": "Precompiled", "precompiled_charsmap": map }))
        };
        assert!(map(&[4, 0, 0, 0, 1, 2, 3, 4, b'x', 0]).is_ok());
        for damaged in [&[][..], &[9, 0, 0], &[8, 0, 0, 0, 1, 2, 3, 4], &[255; 4]] {
            assert!(map(damaged).is_err(), "{damaged:?}");
        }
    }

    #[test]
    fn a_frame_without_end_is_refused() {
        let piece = json!({ "Sequence": { "id": "A", "type_id": 0 } });
        let frame = |pieces: usize| {
            let single = vec![piece.clone(); pieces];
            let processor = json!({ "type": "TemplateProcessing", "single": single });
            check(
                json!({ "post_processor": processor })
                    .to_string()
                    .as_bytes(),
            )
        };
        assert!(frame(3).is_ok() && frame(65).is_err());
    }
}
