//! The policy files of one `up`: a model each, behind the same proxy.

use std::path::{Path, PathBuf};

use tidegate_policy::{PolicyFile, ProcessRules, UpRules};

use super::UpError;
use crate::fleet::process::Share;
use crate::run::{Clash, Unusable};

/// A model, and the policy of its fleet.
pub struct Model {
    /// The file's stem, where there are others.
    pub label: Option<String>,
    /// As clients name it.
    pub name: String,
    pub path: PathBuf,
    pub file: PolicyFile,
    pub rules: UpRules,
    pub process: ProcessRules,
}

/// Reads all, and holds each against the others.
///
/// # Errors
/// When one of them cannot be used, or they cannot be served together.
pub fn load(configs: &[PathBuf]) -> anyhow::Result<Vec<Model>> {
    let mut models: Vec<Model> = Vec::new();
    for path in configs {
        models.push(read(path, configs.len() > 1)?);
    }
    let pairs = models.iter().enumerate().flat_map(|(at, model)| {
        let earlier = models[..at].iter();
        earlier.map(move |earlier| (earlier, model))
    });
    let clashes: Vec<Clash> = pairs.filter_map(|(one, two)| clash(one, two)).collect();
    match clashes.is_empty() {
        true => Ok(models),
        false => Err(Unusable::Together(clashes).into()),
    }
}

fn read(path: &Path, has_others: bool) -> anyhow::Result<Model> {
    let mut file: PolicyFile = tidegate_config::load(path)?;
    let (Some(rules), Some(process)) = (file.up.clone(), file.process.clone()) else {
        return Err(Unusable::ForRun(path.to_owned()).into());
    };
    let name = process.model_name();
    if has_others {
        // The proxy counts all models; this fleet is for its own.
        file.fleet.model.get_or_insert_with(|| name.clone());
    }
    let stem = path.file_stem().unwrap_or_default();
    Ok(Model {
        label: has_others.then(|| stem.to_string_lossy().into_owned()),
        name,
        path: path.to_owned(),
        file,
        rules,
        process,
    })
}

fn clash(one: &Model, two: &Model) -> Option<Clash> {
    let differs = |key: &str, one: String, two: String| {
        (one != two).then(|| format!("{key} is \"{one}\" and \"{two}\", and one is for all"))
    };
    let is_one = |key: &str, one: &str, two: &str| {
        (one == two).then(|| format!("{key} is \"{one}\" in both"))
    };
    let (first, second) = (&one.rules, &two.rules);
    let proxy_config = |rules: &UpRules| rules.proxy_config.display().to_string();
    let batch = |rules: &UpRules| match &rules.batch {
        Some(batch) => format!(
            "{}, {}, {}",
            batch.listen,
            batch.config.display(),
            batch.store.display()
        ),
        None => "absent".to_owned(),
    };
    let ledger = |model: &Model| {
        let ledger = model.file.scaler.ledger.as_ref();
        ledger.map(|ledger| ledger.display().to_string())
    };
    let same_ledger = || {
        let (one, two) = (ledger(one)?, ledger(two)?);
        is_one("scaler.ledger", &one, &two)
    };
    let listen = |model: &Model| model.file.scaler.listen.to_string();
    let why = differs(
        "up.listen",
        first.listen.to_string(),
        second.listen.to_string(),
    )
    .or_else(|| {
        differs(
            "up.admin",
            first.admin.to_string(),
            second.admin.to_string(),
        )
    })
    .or_else(|| differs("up.proxy_config", proxy_config(first), proxy_config(second)))
    .or_else(|| differs("up.batch", batch(first), batch(second)))
    .or_else(|| differs("scaler.listen", listen(one), listen(two)))
    .or_else(|| is_one("the model's name", &one.name, &two.name))
    .or_else(|| {
        let (one, two) = (one.label.as_deref()?, two.label.as_deref()?);
        is_one("the file's name", one, two)
    })
    .or_else(same_ledger)?;
    Some(Clash {
        first: one.path.clone(),
        second: two.path.clone(),
        why,
    })
}

/// Each model's part in the cores of this machine.
///
/// # Errors
/// When there are too few for what the fleets must have.
pub fn shares(models: &[Model], cores: u32) -> Result<Vec<Share>, UpError> {
    if let [_] = models {
        return Ok(vec![Share::alone(cores)]);
    }
    let least = |model: &Model| model.file.fleet.min.max(1);
    let needed: u32 = models.iter().map(least).sum();
    let fleets: Vec<(&str, u32)> = models
        .iter()
        .map(|model| {
            (
                model.label.as_deref().unwrap_or(&model.name),
                model.file.fleet.min,
            )
        })
        .collect();
    let forced = models.iter().all(|model| model.process.oversubscribe);
    match needed > cores && !forced {
        true => Err(UpError::Cores {
            models: models.len(),
            needed,
            cores,
        }),
        false => Ok(Share::among(cores, &fleets)),
    }
}

/// # Errors
/// When one of the models is not there.
pub fn check_present(models: &[Model]) -> Result<(), UpError> {
    for model in models {
        let place = &model.process.model;
        let is_remote = place.contains("://");
        if !is_remote && !Path::new(place).exists() {
            return Err(UpError::NoModel {
                model: place.clone(),
                config: model.path.display().to_string(),
            });
        }
    }
    Ok(())
}
