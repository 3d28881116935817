//! What a sentence-transformers directory says of pooling.

use serde::Deserialize;
use tidegate_kernels::Pooling;

/// `1_Pooling/config.json`, in the form with one switch a mode and in the form with a name.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct PoolingConfig {
    pooling_mode: Option<String>,
    /// Whether a prompt's tokens are pooled with the text's.
    include_prompt: Option<bool>,
    pooling_mode_cls_token: bool,
    pooling_mode_mean_tokens: bool,
    pooling_mode_max_tokens: bool,
    pooling_mode_mean_sqrt_len_tokens: bool,
    pooling_mode_weightedmean_tokens: bool,
    pooling_mode_lasttoken: bool,
}

impl PoolingConfig {
    pub fn leaves_prompts_out(&self) -> bool {
        self.include_prompt == Some(false)
    }

    /// The one mode that is on; an explanation when it is none that can be computed here.
    pub fn pooling(&self) -> Result<Pooling, String> {
        match self.modes().as_slice() {
            ["mean"] => Ok(Pooling::Mean),
            ["cls"] => Ok(Pooling::Cls),
            ["max"] => Ok(Pooling::Max),
            [] => Err("no pooling mode is on; expected mean, cls or max".to_owned()),
            modes => Err(format!(
                "pooling by {} is not supported; expected one of mean, cls or max",
                modes.join(" and ")
            )),
        }
    }

    fn modes(&self) -> Vec<&str> {
        if let Some(mode) = &self.pooling_mode {
            return vec![mode];
        }
        let switches = [
            (self.pooling_mode_cls_token, "cls"),
            (self.pooling_mode_mean_tokens, "mean"),
            (self.pooling_mode_max_tokens, "max"),
            (self.pooling_mode_mean_sqrt_len_tokens, "mean_sqrt_len"),
            (self.pooling_mode_weightedmean_tokens, "weightedmean"),
            (self.pooling_mode_lasttoken, "lasttoken"),
        ];
        switches
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, name)| *name)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_config_are_read_and_odd_modes_are_named() {
        let read = |json| {
            let config: PoolingConfig = serde_json::from_str(json).expect("valid JSON");
            config.pooling()
        };
        assert_eq!(
            read(r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#),
            Ok(Pooling::Cls)
        );
        assert_eq!(
            read(r#"{"pooling_mode": "max", "word_embedding_dimension": 4}"#),
            Ok(Pooling::Max)
        );
        let odd = read(r#"{"pooling_mode_lasttoken": true}"#).expect_err("not supported");
        assert!(odd.contains("lasttoken"), "{odd}");
        assert!(read("{}").is_err());
    }
}
