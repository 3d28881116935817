//! Several policies under one scaler: their names, and what no two of them may share.
//!
//! Paths are compared after links are resolved; the files need not exist yet.

use std::path::{Path, PathBuf};

use tidegate_control::FleetKind;

use super::{Clash, Unusable};
use crate::paths;
use tidegate_policy::{DEFAULT_LEDGER, LeaseRules, PolicyFile};

/// The dimension that tells several fleets apart in CloudWatch.
const DIMENSION: &str = "Fleet";

/// A policy among those of this scaler.
#[derive(Clone)]
pub struct Policy {
    /// The file's stem.
    pub name: String,
    /// The name, where there are others.
    pub label: Option<String>,
    pub path: PathBuf,
    pub file: PolicyFile,
}

/// Reads all, and holds each against the others.
pub fn load(paths: &[PathBuf]) -> anyhow::Result<Vec<Policy>> {
    let mut policies: Vec<Policy> = Vec::new();
    for path in paths {
        let file = read(path)?;
        let name = path.file_stem().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        if paths.len() > 1 && !is_plain(&name) {
            return Err(Unusable::Name(path.clone()).into());
        }
        policies.push(Policy {
            label: (paths.len() > 1).then(|| name.clone()),
            name,
            path: path.clone(),
            file,
        });
    }
    let pairs = policies.iter().enumerate().flat_map(|(at, policy)| {
        let earlier = policies[..at].iter();
        earlier.map(move |earlier| (earlier, policy))
    });
    let clashes: Vec<Clash> = pairs.filter_map(|(one, two)| clash(one, two)).collect();
    match clashes.is_empty() {
        true => Ok(policies),
        false => Err(Unusable::Together(clashes).into()),
    }
}

fn read(path: &Path) -> anyhow::Result<PolicyFile> {
    let file: PolicyFile = tidegate_config::load(path)?;
    match file.up {
        Some(_) => Err(Unusable::ForUp(path.to_owned()).into()),
        None => Ok(file),
    }
}

impl Policy {
    /// As its file is now.
    pub fn read_again(&self) -> anyhow::Result<Policy> {
        let file = read(&self.path)?;
        Ok(Policy {
            file,
            ..self.clone()
        })
    }

    /// The file, and in what it publishes the fleet's name, where there are others.
    pub fn published(&self) -> PolicyFile {
        let mut file = self.file.clone();
        if let (Some(label), Some(rules)) = (&self.label, &mut file.cloudwatch) {
            let fleet = rules.dimensions.entry(DIMENSION.to_owned());
            fleet.or_insert_with(|| label.clone());
        }
        file
    }

    fn ledger(&self) -> PathBuf {
        let ledger = self.file.scaler.ledger.as_deref();
        paths::led_to(ledger.unwrap_or(Path::new(DEFAULT_LEDGER)))
    }
}

/// For labels, dimensions and command lines.
fn is_plain(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=255).contains(&name.len()) && name.bytes().all(allowed)
}

/// What keeps these two from being run together.
pub fn clash(one: &Policy, two: &Policy) -> Option<Clash> {
    Some(Clash {
        first: one.path.clone(),
        second: two.path.clone(),
        why: why_not(one, two)?,
    })
}

fn why_not(one: &Policy, two: &Policy) -> Option<String> {
    let (first, second) = (one.file.scaler.listen, two.file.scaler.listen);
    if first != second {
        let one_port = "the port is one for all of them";
        return Some(format!(
            "scaler.listen is \"{first}\" and \"{second}\", and {one_port}"
        ));
    }
    if one.name == two.name {
        let name = &one.name;
        return Some(format!(
            "the file's name is the fleet's, and both are \"{name}\""
        ));
    }
    let is_process = |policy: &Policy| policy.file.fleet.kind == FleetKind::Process;
    if is_process(one) && is_process(two) {
        let why = "both start processes here, and each would count on all cores";
        return Some(why.to_owned());
    }
    let (what, value) = shared(one, two)?;
    Some(format!("{what} is \"{value}\" in both"))
}

/// A key, and the value that is only for one of them.
fn shared(one: &Policy, two: &Policy) -> Option<(&'static str, String)> {
    let ledger = one.ledger();
    if ledger == two.ledger() {
        return Some(("scaler.ledger", ledger.display().to_string()));
    }
    if let (Some(first), Some(second)) = (&one.file.asg, &two.file.asg)
        && first.group == second.group
        && first.endpoint().may_be(&second.endpoint())
    {
        return Some(("asg.group", first.group.clone()));
    }
    if let (Some(first), Some(second)) = (&one.file.container, &two.file.container)
        && first.name_prefix == second.name_prefix
        && paths::led_to(&first.socket) == paths::led_to(&second.socket)
    {
        return Some(("container.name_prefix", first.name_prefix.clone()));
    }
    if let (Some(first), Some(second)) = (&one.file.lease, &two.file.lease)
        && let Some(shared) = shared_lease(first, second)
    {
        return Some(shared);
    }
    shared_metrics(&one.published(), &two.published())
}

fn shared_lease(one: &LeaseRules, two: &LeaseRules) -> Option<(&'static str, String)> {
    if let (Some(first), Some(second)) = (&one.path, &two.path) {
        let first = paths::led_to(first);
        let is_one = first == paths::led_to(second);
        return is_one.then(|| ("lease.path", first.display().to_string()));
    }
    let key = one.key.clone()?;
    let is_one =
        (&one.key, &one.table) == (&two.key, &two.table) && one.endpoint().may_be(&two.endpoint());
    is_one.then_some(("lease.key", key))
}

/// What would be added up in CloudWatch, or written over in a file.
fn shared_metrics(one: &PolicyFile, two: &PolicyFile) -> Option<(&'static str, String)> {
    let (one, two) = (one.cloudwatch.as_ref()?, two.cloudwatch.as_ref()?);
    let is_one = (&one.namespace, &one.dimensions) == (&two.namespace, &two.dimensions);
    let fleet = one.dimensions.get(DIMENSION).cloned().unwrap_or_default();
    is_one.then_some(("cloudwatch.dimensions.Fleet", fleet))
}
