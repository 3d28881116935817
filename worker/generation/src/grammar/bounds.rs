//! How large a schema may be. What the library does with one grows with its parts, and with their
//! product where they are combined; these bounds keep both small.

use serde_json::Value;

/// The longest schema, as JSON.
const MOST_BYTES: usize = 128 << 10;

/// The most values in it, those in lists and objects counted one by one.
const MOST_VALUES: usize = 10_000;

/// How deep its values are nested.
const MOST_DEPTH: usize = 64;

/// The most values of one `enum`, or schemas of one `anyOf`, `oneOf` or `allOf`.
const MOST_CHOICES: usize = 1000;

/// The largest length, number of items or number of properties that is counted.
const MOST_COUNTED: u64 = 10_000;

/// The most names of an object times alternatives of the schema: where the two meet, each name is
/// looked at for each alternative.
const MOST_PRODUCT: usize = 50_000;

/// Schemas that are looked at to find patterns that are combined.
const MOST_LOOKED_AT: usize = 64;

/// The longest regular expression, and the most of them.
const MOST_PATTERN_BYTES: usize = 1024;
const MOST_PATTERNS: usize = 64;

/// What is wrong with a schema, with the place in it where that is.
pub fn check(schema: &Value) -> Result<(), String> {
    let bytes = serde_json::to_vec(schema).map_or(0, |bytes| bytes.len());
    if bytes > MOST_BYTES {
        return Err(format!(
            "it has {bytes} bytes; at most {MOST_BYTES} are taken"
        ));
    }
    let (mut values, mut alternatives, mut names, mut patterns) = (0, 0, 0, 0);
    // By hand rather than by recursion: depth is one of the bounds.
    let mut left = vec![(schema, String::new(), 0)];
    while let Some((value, place, depth)) = left.pop() {
        values += 1;
        if values > MOST_VALUES {
            return Err(format!("it has more than {MOST_VALUES} values"));
        }
        if depth > MOST_DEPTH {
            return Err(format!("{place}: nested more than {MOST_DEPTH} deep"));
        }
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    let place = format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
                    keyword(schema, name, field)
                        .map_err(|problem| format!("{place}: {problem}"))?;
                    match (&name[..], field) {
                        ("anyOf" | "oneOf", Value::Array(items)) => alternatives += items.len(),
                        ("pattern", Value::String(_)) => {
                            patterns += 1;
                            let others = COMBINED.iter().chain(&["$ref"]);
                            if let Some(other) =
                                others.into_iter().find(|name| fields.contains_key(**name))
                            {
                                return Err(format!(
                                    "{place}: beside {other}; a pattern stands alone"
                                ));
                            }
                        }
                        ("required", Value::Array(items)) => names = items.len().max(names),
                        ("properties", Value::Object(fields)) => names = fields.len().max(names),
                        _ => {}
                    }
                    left.push((field, place, depth + 1));
                }
            }
            Value::Array(items) => {
                let items = items.iter().enumerate();
                left.extend(
                    items.map(|(index, item)| (item, format!("{place}/{index}"), depth + 1)),
                );
            }
            _ => {}
        }
    }
    if patterns > MOST_PATTERNS {
        return Err(format!(
            "it has {patterns} patterns; at most {MOST_PATTERNS} are taken"
        ));
    }
    if alternatives * names > MOST_PRODUCT {
        return Err(format!(
            "it has {alternatives} alternatives and {names} names in one object; at most \
             {MOST_PRODUCT} are taken, multiplied"
        ));
    }
    Ok(())
}

fn keyword(root: &Value, name: &str, value: &Value) -> Result<(), String> {
    let too_many = |found, most| Err(format!("{found} is too much; at most {most} is taken"));
    match (name, value) {
        ("enum" | "anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(items))
            if items.len() > MOST_CHOICES =>
        {
            Err(format!(
                "{} values; at most {MOST_CHOICES} are taken",
                items.len()
            ))
        }
        // What matches several expressions at once takes as many states as their product.
        ("allOf", Value::Array(items)) if held(root, items) > 1 => {
            Err("several of its schemas have a pattern; one may".to_owned())
        }
        (
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties",
            Value::Number(number),
        ) => match number.as_f64() {
            Some(count) if count > MOST_COUNTED as f64 => {
                too_many(number.to_string(), MOST_COUNTED)
            }
            _ => Ok(()),
        },
        ("pattern", Value::String(pattern)) => check_pattern(pattern),
        _ => Ok(()),
    }
}

/// What is wrong with a regular expression.
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    match pattern.len() {
        0..=MOST_PATTERN_BYTES => Ok(()),
        bytes => Err(format!(
            "a pattern of {bytes} bytes; at most {MOST_PATTERN_BYTES} are taken"
        )),
    }
}

/// How many of these schemas hold texts to a pattern.
fn held(root: &Value, schemas: &[Value]) -> usize {
    let held = |schema: &&Value| has_pattern(root, schema, &mut { MOST_LOOKED_AT });
    schemas.iter().filter(held).count()
}

/// Keywords whose schemas hold together with the one that they stand in.
const COMBINED: [&str; 3] = ["allOf", "anyOf", "oneOf"];

/// Whether texts of a schema are held to a pattern: its own, or one of the schemas that it combines or
/// refers to. True where looking would take more than `left` schemas.
fn has_pattern(root: &Value, schema: &Value, left: &mut usize) -> bool {
    match left.checked_sub(1) {
        Some(rest) => *left = rest,
        None => return true,
    }
    let target = schema["$ref"]
        .as_str()
        .and_then(|name| name.strip_prefix('#'));
    let target = target.and_then(|pointer| root.pointer(pointer));
    let combined = COMBINED.iter().filter_map(|name| schema[*name].as_array());
    schema["pattern"].is_string()
        || target.is_some_and(|target| has_pattern(root, target, left))
        || (combined.flatten()).any(|part| has_pattern(root, part, left))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_too_large_is_named_with_its_place() {
        let nested = (0..70).fold(json!({}), |inner, _| json!({ "items": inner }));
        for (schema, part) in [
            (json!({ "title": "x".repeat(MOST_BYTES) }), "bytes"),
            (
                json!({ "a": vec![0; MOST_VALUES] }),
                "more than 10000 values",
            ),
            (nested, "nested more than 64 deep"),
            (
                json!({ "properties": { "a/b": { "enum": (0..1001).collect::<Vec<_>>() } } }),
                "/properties/a~1b/enum: 1001 values",
            ),
            (
                json!({ "required": vec!["a"; 300], "anyOf": vec![json!({}); 200] }),
                "200 alternatives and 300 names",
            ),
            (json!({ "maxLength": 1e9 }), "/maxLength: 1000000000"),
            (json!({ "pattern": "a".repeat(2000) }), "/pattern"),
        ] {
            let problem = check(&schema).expect_err(part);
            assert!(problem.contains(part), "{problem}");
        }
        assert_eq!(check(&json!({ "type": "string", "maxLength": 64 })), Ok(()));
    }
}
