//! What is put before a text that is to be translated.

use std::collections::BTreeMap;

use serde_json::Value;

/// Languages by the codes of ISO 639-1, as T5's prompts name them.
const LANGUAGES: [(&str, &str); 16] = [
    ("ar", "Arabic"),
    ("cs", "Czech"),
    ("de", "German"),
    ("en", "English"),
    ("es", "Spanish"),
    ("fr", "French"),
    ("hi", "Hindi"),
    ("it", "Italian"),
    ("ja", "Japanese"),
    ("nl", "Dutch"),
    ("pl", "Polish"),
    ("pt", "Portuguese"),
    ("ro", "Romanian"),
    ("ru", "Russian"),
    ("tr", "Turkish"),
    ("zh", "Chinese"),
];

/// The most letters of a language's name.
const MOST_LETTERS: usize = 40;

/// The prompts that a model's config.json has, by their task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompts(BTreeMap<String, String>);

impl Prompts {
    /// `tasks` is `task_specific_params`.
    pub fn new(tasks: &Option<BTreeMap<String, Value>>) -> Prompts {
        let prefix = |task: &Value| Some(task.get("prefix")?.as_str()?.to_owned());
        let tasks = tasks.iter().flatten();
        Prompts(
            tasks
                .filter_map(|(name, task)| Some((name.clone(), prefix(task)?)))
                .collect(),
        )
    }

    /// What is put before a text, from languages by code or by name: the model's own prompt for the
    /// pair if it has one, else T5's, "translate English to German: ".
    pub fn translation(&self, source: &str, target: &str) -> Result<String, String> {
        let key = format!("translation_{}_to_{}", code(source), code(target));
        if let Some(prefix) = self.0.get(&key) {
            return Ok(prefix.clone());
        }
        let (source, target) = (name(source)?, name(target)?);
        Ok(format!("translate {source} to {target}: "))
    }
}

fn code(language: &str) -> String {
    let found = LANGUAGES
        .iter()
        .find(|(_, name)| name.eq_ignore_ascii_case(language));
    match found {
        Some((code, _)) => (*code).to_owned(),
        None => language.to_ascii_lowercase(),
    }
}

fn name(language: &str) -> Result<String, String> {
    let known = |(code, name): &&(&str, &str)| {
        code.eq_ignore_ascii_case(language) || name.eq_ignore_ascii_case(language)
    };
    if let Some((_, name)) = LANGUAGES.iter().find(known) {
        return Ok((*name).to_owned());
    }
    let is_name = language
        .chars()
        .all(|letter| letter.is_alphabetic() || letter == ' ')
        && (3..=MOST_LETTERS).contains(&language.chars().count());
    match is_name {
        true => Ok(language.to_owned()),
        false => {
            let shown: String = language.chars().take(MOST_LETTERS).collect();
            let codes: Vec<&str> = LANGUAGES.iter().map(|(code, _)| *code).collect();
            Err(format!(
                "\"{shown}\" is not a language; expected its name in English, or one of {}",
                codes.join(", ")
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_named_by_code_or_name_and_the_models_prompt_comes_first() {
        let own = serde_json::json!({
            "translation_en_to_de": { "prefix": "English -> German: " },
            "summarization": { "max_length": 200 }
        });
        let prompts = Prompts::new(&serde_json::from_value(own).expect("an object"));
        let own = "English -> German: ".to_owned();
        assert_eq!(prompts.translation("en", "DE"), Ok(own.clone()));
        assert_eq!(prompts.translation("English", "german"), Ok(own));
        let made = "translate French to Klingon: ".to_owned();
        assert_eq!(prompts.translation("fr", "Klingon"), Ok(made));
        for wrong in ["", "xx", "En\nglish", "a: b", &"x".repeat(50)] {
            assert!(prompts.translation(wrong, "de").is_err(), "{wrong}");
        }
    }
}
