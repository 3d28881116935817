//! From the bytes of an answer to what it says of the value: of a Prometheus query, of a field of
//! any JSON, of a scraped metric.

use std::time::Duration as Span;

use serde_json::Value;
use tidegate_control::Time;
use tidegate_policy::{Series, SourceRule};

use super::SourceFault;
use super::exposition::{self, Line};

/// So much of an answer that is no number is shown.
const SHOWN: usize = 80;

/// What one answer says.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// One for each series, with a name by which it is known again. They add up.
    pub parts: Vec<(String, f64)>,
    /// How long ago the oldest of them was true.
    pub age: Span,
    /// Part of what it adds up was missing, so that it is too small.
    pub is_partial: bool,
}

impl Answer {
    fn one(value: f64) -> Answer {
        Answer {
            parts: vec![(String::new(), value)],
            age: Span::ZERO,
            is_partial: false,
        }
    }

    pub fn value(&self) -> f64 {
        self.parts.iter().map(|(_, value)| value).sum()
    }
}

/// # Errors
/// When there is no number where the rule says.
pub fn read(rule: &SourceRule, bytes: &[u8], now: Time) -> Result<Answer, SourceFault> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}');
    let answer = match (&rule.query, &rule.pointer, &rule.metric) {
        (Some(query), _, _) => queried(&serde_json::from_str(text)?, query)?,
        (_, Some(pointer), _) => pointed(&serde_json::from_str(text)?, pointer)?,
        (_, _, metric) => scraped(text, rule, metric.as_deref().unwrap_or_default(), now)?,
    };
    match answer.value().is_finite() {
        true => Ok(answer),
        false => {
            let found = answer.value().to_string();
            Err(not_a_number(rule.place(), found))
        }
    }
}

fn not_a_number(place: &str, found: String) -> SourceFault {
    let place = place.to_owned();
    SourceFault::NotANumber { place, found }
}

/// The beginning of a value, as it was written.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.chars().count() > SHOWN {
        true => format!("{}...", text.chars().take(SHOWN).collect::<String>()),
        false => text,
    }
}

fn number(value: &Value) -> Option<f64> {
    value
        .as_f64()
        .or_else(|| value.as_str()?.trim().parse().ok())
}

fn pointed(answer: &Value, pointer: &str) -> Result<Answer, SourceFault> {
    let place = || match pointer {
        "" => "the whole answer",
        pointer => pointer,
    };
    let found = answer
        .pointer(pointer)
        .ok_or_else(|| not_a_number(place(), format!("nothing in {}", shown(answer))))?;
    let value = number(found).ok_or_else(|| not_a_number(place(), shown(found)))?;
    Ok(Answer::one(value))
}

/// The only sample of an instant query's answer.
fn queried(answer: &Value, query: &str) -> Result<Answer, SourceFault> {
    if let Some(said) = reason(answer) {
        let status = 200;
        return Err(SourceFault::Status { status, said });
    }
    let missing = || not_a_number(query, shown(answer));
    let data = answer.get("data").ok_or_else(missing)?;
    let result = data.get("result").ok_or_else(missing)?;
    let kind = data.get("resultType").and_then(Value::as_str);
    let pair = match (kind, result.as_array().map(Vec::as_slice)) {
        (Some("matrix"), _) => {
            let found = "a range of values".to_owned();
            return Err(not_a_number(query, found));
        }
        (Some("string"), _) => return Err(not_a_number(query, "a text".to_owned())),
        (Some("scalar"), Some(pair)) => pair.get(1),
        (_, Some([])) => return Err(SourceFault::Series(0)),
        (_, Some([only])) if only.get("histogram").is_some() => {
            return Err(not_a_number(query, "a histogram".to_owned()));
        }
        (_, Some([only])) => only.get("value").and_then(|pair| pair.get(1)),
        (_, Some(several)) => return Err(SourceFault::Series(several.len())),
        (_, None) => None,
    };
    let value = pair.and_then(number).ok_or_else(missing)?;
    let warnings = answer.get("warnings").and_then(Value::as_array);
    Ok(Answer {
        is_partial: warnings.is_some_and(|warnings| !warnings.is_empty()),
        ..Answer::one(value)
    })
}

/// Prometheus' own words on why it has no answer.
pub fn reason(answer: &Value) -> Option<String> {
    let is_error = answer.get("status").and_then(Value::as_str) == Some("error");
    let said = answer.get("error").and_then(Value::as_str);
    said.filter(|_| is_error || answer.get("data").is_none())
        .map(str::to_owned)
}

/// The samples of a metric in a page of the Prometheus text format.
fn scraped(page: &str, rule: &SourceRule, metric: &str, now: Time) -> Result<Answer, SourceFault> {
    let wanted = Series::whole(metric).unwrap_or_default();
    let found = exposition::samples(page, &wanted)
        .map_err(|line| not_a_number(metric, format!("\"{line}\"")))?;
    if found.is_counter && rule.rate.is_none() {
        let place = metric.to_owned();
        return Err(SourceFault::Counter { place });
    }
    if found.lines.is_empty() {
        let found = format!("none of {} lines", page.lines().count());
        return Err(not_a_number(metric, found));
    }
    let age = |line: &Line| {
        let at = Time::from_ms(line.at_ms?.max(0.0) as u64);
        Some(now.since(at))
    };
    let ages = found.lines.iter().filter_map(age);
    let part = |line: &Line| (format!("{:?}", line.series.labels), line.value);
    Ok(Answer {
        age: ages.max().unwrap_or_default(),
        parts: found.lines.iter().map(part).collect(),
        is_partial: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_ms(1_700_000_000_000);

    pub fn rule(way: &str, place: &str) -> SourceRule {
        let rule = serde_json::json!({ "name": "s", "url": "http://127.0.0.1:1", way: place });
        serde_json::from_value(rule).expect("a rule")
    }

    fn found(way: (&str, &str), answer: &str) -> Result<f64, String> {
        let read = read(&rule(way.0, way.1), answer.as_bytes(), NOW);
        read.map(|answer| answer.value())
            .map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_number_is_found_in_each_kind_of_answer() {
        let vector =
            r#"{"data":{"resultType":"vector","result":[{"metric":{},"value":[1.5,"42"]}]}}"#;
        assert_eq!(found(("query", "up"), vector), Ok(42.0));
        let scalar = r#"{"data":{"resultType":"scalar","result":[1.5,"7"]}}"#;
        assert_eq!(found(("query", "up"), scalar), Ok(7.0));
        let json = r#"{"queue":{"depth":12,"name":"x"}}"#;
        assert_eq!(found(("pointer", "/queue/depth"), json), Ok(12.0));
        assert_eq!(found(("pointer", ""), "17"), Ok(17.0));
        assert_eq!(found(("pointer", "/v"), "\u{feff}{\"v\": \"3\"}"), Ok(3.0));
        let page = "# HELP jobs x\njobs{q=\"a b\"} 3\njobs{q=\"c\"} 4\njobs_b 9\n";
        assert_eq!(found(("metric", "jobs"), page), Ok(7.0));
        assert_eq!(found(("metric", r#"jobs{q="c"}"#), page), Ok(4.0));
    }

    #[test]
    fn what_is_no_number_is_told_for_what_it_is() {
        let of = |kind: &str, result: &str| {
            format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#)
        };
        let two = r#"[{"value":[1,"1"]},{"value":[1,"2"]}]"#;
        for (way, answer, said) in [
            (
                ("query", "up"),
                of("vector", two),
                "it has 2 series, expected one",
            ),
            (
                ("query", "up"),
                of("vector", "[]"),
                "it has 0 series, expected one",
            ),
            (
                ("query", "up"),
                of("vector", r#"[{"value":[1,"NaN"]}]"#),
                "NaN instead of one number at up",
            ),
            (
                ("query", "up"),
                of("vector", r#"[{"histogram":[1,{}]}]"#),
                "a histogram instead of one number at up",
            ),
            (
                ("query", "up"),
                of("matrix", r#"[{"values":[]}]"#),
                "a range of values instead of one number at up",
            ),
            (
                ("query", "up"),
                r#"{"status":"error","error":"query timed out"}"#.to_owned(),
                "it answers with 200: query timed out",
            ),
            (
                ("pointer", "/queue"),
                r#"{"depth":1}"#.to_owned(),
                "nothing in {\"depth\":1} instead of one number at /queue",
            ),
            (
                ("pointer", "/a"),
                r#"{"a":"many"}"#.to_owned(),
                "\"many\" instead of one number at /a",
            ),
            (
                ("metric", "jobs"),
                "jobs NaN\n".to_owned(),
                "NaN instead of one number at jobs",
            ),
            (
                ("metric", "jobs"),
                "job 1\n".to_owned(),
                "none of 1 lines instead of one number at jobs",
            ),
            (
                ("metric", "jobs"),
                "# TYPE jobs counter\njobs 7\n".to_owned(),
                "jobs is a counter by its # TYPE line, so the source needs rate = true",
            ),
        ] {
            assert_eq!(found(way, &answer), Err(said.to_owned()), "{answer}");
        }
    }

    #[test]
    fn a_value_s_own_time_and_warnings_are_kept() {
        let answer = |way: (&str, &str), text: &str| {
            read(&rule(way.0, way.1), text.as_bytes(), NOW).expect("a number")
        };
        let old = answer(
            ("metric", "jobs"),
            "jobs 5 1699999970000\njobs{a=\"b\"} 1\n",
        );
        assert_eq!((old.value(), old.age), (6.0, Span::from_secs(30)));
        let partial = r#"{"status":"success","warnings":["partial"],
            "data":{"resultType":"vector","result":[{"value":[1,"3"]}]}}"#;
        assert!(answer(("query", "up"), partial).is_partial);
    }
}
