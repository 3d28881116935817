//! From a vector for each token to one for the text.

use serde::Deserialize;

/// How the tokens' vectors become the text's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The mean over all tokens.
    Mean,
    /// The first token's.
    Cls,
    /// The greatest value of each number over all tokens.
    Max,
}

/// `1_Pooling/config.json`, in the form with one switch a mode and in the form with a name.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct PoolingConfig {
    pooling_mode: Option<String>,
    pooling_mode_cls_token: bool,
    pooling_mode_mean_tokens: bool,
    pooling_mode_max_tokens: bool,
    pooling_mode_mean_sqrt_len_tokens: bool,
    pooling_mode_weightedmean_tokens: bool,
    pooling_mode_lasttoken: bool,
}

impl PoolingConfig {
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

impl Pooling {
    /// Pools `tokens`, whole rows of `width` numbers each; there is at least one row.
    pub fn apply(self, tokens: &[f32], width: usize) -> Vec<f32> {
        let mut rows = tokens.chunks_exact(width);
        let mut pooled = rows.next().map(<[f32]>::to_vec).unwrap_or_default();
        match self {
            Pooling::Cls => {}
            Pooling::Max => rows.for_each(|row| merge(&mut pooled, row, f32::max)),
            Pooling::Mean => {
                rows.for_each(|row| merge(&mut pooled, row, |sum, value| sum + value));
                let count = (tokens.len() / width) as f32;
                pooled.iter_mut().for_each(|value| *value /= count);
            }
        }
        pooled
    }
}

fn merge(into: &mut [f32], row: &[f32], with: impl Fn(f32, f32) -> f32) {
    for (value, other) in into.iter_mut().zip(row) {
        *value = with(*value, *other);
    }
}

/// Brings a vector to length 1; one of no length stays as it is.
pub fn normalize(vector: &mut [f32]) {
    let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    let scale = 1.0 / norm.max(1e-12);
    vector.iter_mut().for_each(|value| *value *= scale);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_pools_as_its_name_says() {
        let tokens = [1.0, -4.0, 3.0, 8.0];
        assert_eq!(Pooling::Mean.apply(&tokens, 2), [2.0, 2.0]);
        assert_eq!(Pooling::Cls.apply(&tokens, 2), [1.0, -4.0]);
        assert_eq!(Pooling::Max.apply(&tokens, 2), [3.0, 8.0]);
    }

    #[test]
    fn normalising_gives_length_one_and_spares_zero() {
        let mut vector = [3.0, 4.0];
        normalize(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
        let mut zero = [0.0; 3];
        normalize(&mut zero);
        assert_eq!(zero, [0.0; 3]);
    }

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
