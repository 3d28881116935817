//! The container of a worker as the engine creates it: its program and its restricted rights.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount as EngineMount,
    MountType,
};

use tidegate_policy::{ContainerRules, Mount, model_name};

/// The label by which a fleet's containers are found; its value is `name_prefix`.
pub(super) const FLEET_LABEL: &str = "tidegate.fleet";

/// Where workers take requests, in their own network: nothing is published.
const LISTEN: &str = "0.0.0.0:8080";

/// Threads of one container: what computes, what serves, and what reads files.
const MOST_THREADS: i64 = 1024;

/// What the engine is asked to make for the worker `id`.
pub(super) fn body(rules: &ContainerRules, id: &str, proxies: &[String]) -> ContainerCreateBody {
    let mut labels: HashMap<String, String> = rules.labels.clone().into_iter().collect();
    labels.insert(FLEET_LABEL.to_owned(), rules.name_prefix.clone());
    ContainerCreateBody {
        image: Some(rules.image.clone()),
        cmd: Some(arguments(rules, id, proxies)),
        user: rules.user.clone(),
        labels: Some(labels),
        // Heartbeats say more, and cost no process each.
        healthcheck: Some(HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..HealthConfig::default()
        }),
        stop_timeout: i64::try_from(rules.stop_limit.as_secs()).ok(),
        host_config: Some(host_config(rules)),
        ..ContainerCreateBody::default()
    }
}

fn arguments(rules: &ContainerRules, id: &str, proxies: &[String]) -> Vec<String> {
    let name = model_name(&rules.model, rules.name.as_deref());
    let token_file = rules.token_file.to_string_lossy();
    let config = rules.config.as_deref().map(Path::to_string_lossy);
    let mut arguments = vec!["serve", "--id", id, "--listen", LISTEN];
    arguments.extend(["--model", &rules.model, "--name", &name]);
    arguments.extend(["--token-file", &token_file]);
    if let Some(config) = &config {
        arguments.extend(["--config", config]);
    }
    arguments.extend(proxies.iter().flat_map(|proxy| ["--proxy", proxy]));
    arguments.into_iter().map(str::to_owned).collect()
}

fn host_config(rules: &ContainerRules) -> HostConfig {
    let memory = rules
        .memory_bytes
        .and_then(|bytes| i64::try_from(bytes).ok());
    let log_config = HostConfigLogConfig {
        typ: Some(rules.log_driver.clone()),
        ..HostConfigLogConfig::default()
    };
    HostConfig {
        network_mode: Some(rules.network.clone()),
        mounts: Some(rules.mounts.iter().map(engine_mount).collect()),
        nano_cpus: rules.cpus.map(|cpus| (cpus * 1e9) as i64),
        memory,
        // As much as memory: no swap.
        memory_swap: memory,
        pids_limit: Some(MOST_THREADS),
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        log_config: Some(log_config),
        ..HostConfig::default()
    }
}

fn engine_mount(mount: &Mount) -> EngineMount {
    EngineMount {
        source: Some(mount.from.clone()),
        target: Some(mount.to.to_string_lossy().into_owned()),
        typ: Some(match mount.from.starts_with('/') {
            true => MountType::BIND,
            false => MountType::VOLUME,
        }),
        read_only: Some(true),
        ..EngineMount::default()
    }
}
