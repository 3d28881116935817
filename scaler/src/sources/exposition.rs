//! A page in the text format of Prometheus, or in OpenMetrics: the samples of one metric.
//!
//! Lines that are no sample of it are passed over, whatever is in them.

use tidegate_policy::{BLANKS, Series};

/// One line of the metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub series: Series,
    pub value: f64,
    /// When it was true, if it says so, in milliseconds since the epoch.
    pub at_ms: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    pub lines: Vec<Line>,
    /// Whether the page says that the metric is a counter.
    pub is_counter: bool,
}

/// The samples that have the name and the labels of `wanted`.
///
/// # Errors
/// With the line that begins as one of them and has no number.
pub fn samples(page: &str, wanted: &Series) -> Result<Found, String> {
    let page = page.trim_start_matches('\u{feff}');
    // OpenMetrics ends with this, and its times are in seconds.
    let ms = match page.trim_end().ends_with("# EOF") {
        true => 1000.0,
        false => 1.0,
    };
    let mut found = Found::default();
    for line in page.lines() {
        let line = line.trim_matches(BLANKS);
        if let Some(comment) = line.strip_prefix('#') {
            found.is_counter |= is_type_counter(comment, &wanted.name);
            continue;
        }
        let Some((series, rest)) = Series::read(line) else {
            continue;
        };
        if !wanted.covers(&series) {
            continue;
        }
        let (value, at) = numbers(rest).ok_or_else(|| line.to_owned())?;
        found.lines.push(Line {
            series,
            value,
            at_ms: at.map(|at| at * ms),
        });
    }
    Ok(found)
}

/// A value and a time, if there is one; what an exemplar says is left out.
fn numbers(rest: &str) -> Option<(f64, Option<f64>)> {
    let mut words = rest.split(BLANKS).filter(|word| !word.is_empty());
    let value = words.next()?.parse().ok()?;
    let at = match words.next() {
        None | Some("#") => None,
        Some(at) => Some(at.parse().ok()?),
    };
    Some((value, at))
}

/// `TYPE jobs counter`, where the metric is `jobs` or, in OpenMetrics, `jobs_total`.
fn is_type_counter(comment: &str, name: &str) -> bool {
    let mut words = comment.split(BLANKS).filter(|word| !word.is_empty());
    let family = match (words.next(), words.next(), words.next()) {
        (Some("TYPE"), Some(family), Some("counter")) => family,
        _ => return false,
    };
    name == family || name.strip_suffix("_total") == Some(family)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values and times of the samples of `wanted`.
    fn found(page: &str, wanted: &str) -> Vec<(f64, Option<f64>)> {
        let wanted = Series::whole(wanted).expect("a series");
        let found = samples(page, &wanted).expect("numbers");
        let pair = |line: &Line| (line.value, line.at_ms);
        found.lines.iter().map(pair).collect()
    }

    #[test]
    fn a_sample_may_be_written_in_every_way_that_the_format_allows() {
        for page in [
            "jobs 5",
            "jobs\t5",
            "  jobs 5  ",
            "jobs{} 5",
            "jobs{}5",
            "\u{feff}jobs 5.0e0",
        ] {
            assert_eq!(found(page, "jobs"), [(5.0, None)], "{page:?}");
        }
        let wanted = r#"jobs{a="1",b="2"}"#;
        for page in [
            r#"jobs{a="1",b="2",} 5"#,
            r#"jobs{b="2",a="1"} 5"#,
            r#"jobs{ a="1", b="2" } 5"#,
            r#"jobs{a="1",b="2",c="}"} 5"#,
        ] {
            assert_eq!(found(page, wanted), [(5.0, None)], "{page}");
        }
        let page =
            "# HELP jobs x\njobs{q=\"a b\"} 3\njobs{q=\"c\"} 4 1700000000\njobs_b 9\njob 1\n";
        assert_eq!(found(page, "jobs"), [(3.0, None), (4.0, Some(1.7e9))]);
        assert!(found(page, "other").is_empty());
    }

    #[test]
    fn times_are_milliseconds_and_in_openmetrics_seconds_and_exemplars_are_left_out() {
        let text = "jobs 5 1700000000500\n";
        assert_eq!(found(text, "jobs"), [(5.0, Some(1_700_000_000_500.0))]);
        let open =
            "# TYPE jobs counter\njobs_total 5 1700000000.5 # {trace_id=\"a\"} 1 1.5\n# EOF\n";
        assert_eq!(
            found(open, "jobs_total"),
            [(5.0, Some(1_700_000_000_500.0))]
        );
        let exemplar = "jobs_total 7 # {trace_id=\"a\"} 0.67\n# EOF\n";
        assert_eq!(found(exemplar, "jobs_total"), [(7.0, None)]);
    }

    #[test]
    fn a_counter_is_known_by_its_type_and_a_line_without_a_number_is_reported() {
        let counter = |page: &str, name: &str| {
            let wanted = Series::whole(name).expect("a series");
            samples(page, &wanted).expect("numbers").is_counter
        };
        assert!(counter("# TYPE jobs counter\njobs 5\n", "jobs"));
        assert!(counter(
            "#\tTYPE  jobs counter\njobs_total 5\n",
            "jobs_total"
        ));
        assert!(!counter(
            "# TYPE jobs gauge\n# TYPE job counter\njobs 5\n",
            "jobs"
        ));
        let wanted = Series::whole("jobs").expect("a series");
        assert_eq!(samples("jobs five\n", &wanted), Err("jobs five".to_owned()));
    }
}
