//! A metric's name and labels, as Prometheus' text format writes them: in a page that is scraped,
//! and in the policy that says which of its samples are wanted.
//!
//! By "Exposition formats" of Prometheus' documentation and, for names in quotes, its guide on
//! UTF-8: labels have no order, spaces and tabs may stand around everything, and the last label may
//! be followed by a comma.

use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

impl Series {
    /// All of the text is one.
    pub fn whole(text: &str) -> Option<Series> {
        let (series, rest) = Series::read(text)?;
        rest.trim_matches(BLANKS).is_empty().then_some(series)
    }

    /// Reads one from the beginning of a line. Returns what follows it as well.
    pub fn read(text: &str) -> Option<(Series, &str)> {
        let text = text.trim_start_matches(BLANKS);
        let end = text.find(|c| !is_of_name(c)).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let mut series = Series {
            name: name.to_owned(),
            labels: BTreeMap::new(),
        };
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let rest = match rest.trim_start_matches(BLANKS).strip_prefix('{') {
            Some(labels) => series.read_labels(labels)?,
            None => rest,
        };
        (!series.name.is_empty()).then_some((series, rest))
    }

    /// Whether the other is the same metric and has all of these labels.
    pub fn covers(&self, other: &Series) -> bool {
        let has = |(name, value): (&String, &String)| other.labels.get(name) == Some(value);
        self.name == other.name && self.labels.iter().all(has)
    }

    /// From behind the brace to behind the one that closes it.
    fn read_labels<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let mut rest = text.trim_start_matches(BLANKS);
        loop {
            if let Some(rest) = rest.strip_prefix('}') {
                return Some(rest);
            }
            let (name, is_quoted, after) = word(rest)?;
            let after = after.trim_start_matches(BLANKS);
            let after = match after.strip_prefix('=') {
                Some(value) => {
                    let (value, after) = quoted_text(value.trim_start_matches(BLANKS))?;
                    self.labels.insert(name, value);
                    after
                }
                // A name that is no plain word stands in quotes among the labels.
                None if is_quoted && self.name.is_empty() => {
                    self.name = name;
                    after
                }
                None => return None,
            };
            rest = after.trim_start_matches(BLANKS);
            rest = match rest.strip_prefix(',') {
                Some(next) => next.trim_start_matches(BLANKS),
                None if rest.starts_with('}') => rest,
                None => return None,
            };
        }
    }
}

/// What may stand between the parts of a line.
pub const BLANKS: [char; 2] = [' ', '\t'];

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// A label's name, plain or in quotes.
fn word(text: &str) -> Option<(String, bool, &str)> {
    if text.starts_with('"') {
        return quoted_text(text).map(|(word, rest)| (word, true, rest));
    }
    let end = text.find(|c| !is_of_name(c)).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (!word.is_empty()).then(|| (word.to_owned(), false, rest))
}

/// Text in quotes, with its escapes undone.
fn quoted_text(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut found = String::new();
    let mut letters = inner.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((found, &inner[at + 1..])),
            '\\' => match letters.next()? {
                (_, 'n') => found.push('\n'),
                (_, other) => found.push(other),
            },
            other => found.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, labels: &[(&str, &str)]) -> Series {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Series {
            name: name.to_owned(),
            labels: labels.iter().map(owned).collect(),
        }
    }

    #[test]
    fn one_series_is_written_in_many_ways() {
        let both = series("jobs", &[("a", "1"), ("b", "2")]);
        for text in [
            r#"jobs{a="1",b="2"}"#,
            r#"jobs{b="2",a="1",}"#,
            "  jobs\t{ a = \"1\" ,\tb=\"2\" } ",
            r#"{"jobs", a="1", "b"="2"}"#,
        ] {
            assert_eq!(Series::whole(text), Some(both.clone()), "{text}");
        }
        assert_eq!(Series::whole("jobs{}"), Some(series("jobs", &[])));
        let escaped = series("jobs", &[("a", "} \" \\ \n é")]);
        assert_eq!(Series::whole(r#"jobs{a="} \" \\ \n é"}"#), Some(escaped));
        let dotted = series("jobs.in.queue", &[]);
        assert_eq!(Series::whole(r#"{"jobs.in.queue"}"#), Some(dotted));
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "{}",
            "5",
            "jobs{",
            "jobs{a}",
            "jobs{a=1}",
            "jobs{a=\"1\"",
            "jobs 5",
        ] {
            assert_eq!(Series::whole(text), None, "{text}");
        }
    }

    #[test]
    fn fewer_labels_cover_more_series() {
        let all = series("jobs", &[("a", "1"), ("b", "2")]);
        assert!(series("jobs", &[]).covers(&all));
        assert!(series("jobs", &[("b", "2")]).covers(&all));
        assert!(!series("jobs", &[("b", "3")]).covers(&all));
        assert!(!all.covers(&series("jobs", &[])));
        assert!(!series("job", &[]).covers(&all));
    }
}
