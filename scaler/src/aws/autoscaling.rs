//! An Auto Scaling Group as AWS's own API has it.

use async_trait::async_trait;
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::config::http::HttpResponse;
use aws_sdk_autoscaling::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_autoscaling::types::{
    self, AutoScalingGroup, InstanceRefreshStatus, LifecycleState, ScalingActivityStatusCode,
};

use tidegate_policy::AsgRules;

use super::client::{CallLimits, LazyClient};
use crate::fleet::asg::group::{
    Description, Failure, Group, GroupError, Hook, Instance, Offerings, Refresh, State, Then,
    Transition,
};

/// Activities that are read at once; those of the last minutes are among them.
const ACTIVITIES: i32 = 20;

pub struct AwsGroup {
    name: String,
    link: LazyClient<Client>,
}

impl AwsGroup {
    pub fn new(rules: &AsgRules) -> AwsGroup {
        AwsGroup {
            name: rules.group.clone(),
            link: LazyClient::new(
                rules.endpoint(),
                CallLimits::once(*rules.timeout),
                Client::new,
            ),
        }
    }

    async fn client(&self, call: &'static str) -> Result<&Client, GroupError> {
        let client = self.link.client().await;
        client.map_err(|missing| {
            let why = missing.to_string();
            GroupError::NotMade { call, why }
        })
    }

    async fn describe(&self) -> Result<AutoScalingGroup, GroupError> {
        let client = self.client("DescribeAutoScalingGroups").await?;
        let call = client
            .describe_auto_scaling_groups()
            .auto_scaling_group_names(&self.name);
        let answer = call.send().await.map_err(of("DescribeAutoScalingGroups"))?;
        let groups = answer.auto_scaling_groups.unwrap_or_default();
        groups.into_iter().next().ok_or_else(|| {
            let group = self.name.clone();
            GroupError::Missing { group }
        })
    }

    /// The warm pool's instances, which the group does not show among its own.
    async fn warm(&self) -> Result<Vec<Instance>, GroupError> {
        let client = self.client("DescribeWarmPool").await?;
        let call = client
            .describe_warm_pool()
            .auto_scaling_group_name(&self.name);
        let mut pages = call.into_paginator().send();
        let mut warm = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(of("DescribeWarmPool"))?;
            warm.extend(page.instances().iter().filter_map(instance));
        }
        Ok(warm)
    }
}

#[async_trait]
impl Group for AwsGroup {
    async fn look(&self) -> Result<Description, GroupError> {
        let group = self.describe().await?;
        let mut description = description(&group);
        if group.warm_pool_configuration.is_some() {
            let warm = self.warm().await?;
            let new = |one: &Instance| description.instances.iter().all(|known| known.id != one.id);
            let new: Vec<Instance> = warm.into_iter().filter(new).collect();
            description.instances.extend(new);
        }
        Ok(description)
    }

    async fn hooks(&self) -> Result<Vec<Hook>, GroupError> {
        let client = self.client("DescribeLifecycleHooks").await?;
        let call = client
            .describe_lifecycle_hooks()
            .auto_scaling_group_name(&self.name);
        let answer = call.send().await.map_err(of("DescribeLifecycleHooks"))?;
        Ok(answer.lifecycle_hooks().iter().filter_map(hook).collect())
    }

    async fn refresh(&self) -> Result<Option<Refresh>, GroupError> {
        let client = self.client("DescribeInstanceRefreshes").await?;
        let call = client
            .describe_instance_refreshes()
            .auto_scaling_group_name(&self.name)
            .max_records(1);
        let answer = call.send().await.map_err(of("DescribeInstanceRefreshes"))?;
        Ok(answer.instance_refreshes().iter().find_map(refresh))
    }

    async fn failures(&self) -> Result<Vec<Failure>, GroupError> {
        let client = self.client("DescribeScalingActivities").await?;
        let call = client
            .describe_scaling_activities()
            .auto_scaling_group_name(&self.name)
            .max_records(ACTIVITIES);
        let answer = call.send().await.map_err(of("DescribeScalingActivities"))?;
        Ok(answer.activities().iter().filter_map(failure).collect())
    }

    async fn set_desired(&self, desired: u32) -> Result<(), GroupError> {
        let client = self.client("SetDesiredCapacity").await?;
        let call = client
            .set_desired_capacity()
            .auto_scaling_group_name(&self.name)
            .desired_capacity(i32::try_from(desired).unwrap_or(i32::MAX))
            .honor_cooldown(false);
        call.send().await.map_err(of("SetDesiredCapacity"))?;
        Ok(())
    }

    async fn terminate(&self, id: &str, then: Then) -> Result<(), GroupError> {
        let client = self.client("TerminateInstanceInAutoScalingGroup").await?;
        let call = client
            .terminate_instance_in_auto_scaling_group()
            .instance_id(id)
            .should_decrement_desired_capacity(then == Then::Shrink);
        let name = "TerminateInstanceInAutoScalingGroup";
        call.send().await.map_err(of(name))?;
        Ok(())
    }

    async fn protect(&self, ids: &[String]) -> Result<(), GroupError> {
        let client = self.client("SetInstanceProtection").await?;
        let call = client
            .set_instance_protection()
            .auto_scaling_group_name(&self.name)
            .set_instance_ids(Some(ids.to_vec()))
            .protected_from_scale_in(true);
        call.send().await.map_err(of("SetInstanceProtection"))?;
        Ok(())
    }

    async fn go_on(&self, hook: &str, id: &str) -> Result<(), GroupError> {
        let client = self.client("CompleteLifecycleAction").await?;
        let call = client
            .complete_lifecycle_action()
            .auto_scaling_group_name(&self.name)
            .lifecycle_hook_name(hook)
            .instance_id(id)
            .lifecycle_action_result("CONTINUE");
        call.send().await.map_err(of("CompleteLifecycleAction"))?;
        Ok(())
    }

    async fn wait_on(&self, hook: &str, id: &str) -> Result<(), GroupError> {
        let client = self.client("RecordLifecycleActionHeartbeat").await?;
        let call = client
            .record_lifecycle_action_heartbeat()
            .auto_scaling_group_name(&self.name)
            .lifecycle_hook_name(hook)
            .instance_id(id);
        let name = "RecordLifecycleActionHeartbeat";
        call.send().await.map_err(of(name))?;
        Ok(())
    }
}

fn description(group: &AutoScalingGroup) -> Description {
    let count = |number: Option<i32>| u32::try_from(number.unwrap_or(0)).unwrap_or(0);
    let suspended = group.suspended_processes().iter();
    let mut suspended: Vec<String> = suspended
        .filter_map(|process| process.process_name.clone())
        .collect();
    suspended.sort();
    let weighs = |instance: &types::Instance| instance.weighted_capacity.is_some();
    let unit = group.desired_capacity_type().unwrap_or("units");
    Description {
        min: count(group.min_size),
        max: count(group.max_size),
        desired: count(group.desired_capacity),
        protects_new: group
            .new_instances_protected_from_scale_in
            .unwrap_or_default(),
        suspended,
        instances: group.instances().iter().filter_map(instance).collect(),
        warm: count(group.warm_pool_size),
        weighted: unit != "units" || group.instances().iter().any(weighs),
        offerings: Offerings {
            kinds: kinds(group),
            zones: group.availability_zones().to_vec(),
        },
    }
}

/// The types that a group may launch; `None` where AWS chooses them by requirements.
fn kinds(group: &AutoScalingGroup) -> Option<Vec<String>> {
    let mixed = group.mixed_instances_policy();
    let template = mixed.and_then(|policy| policy.launch_template());
    let overrides = template.map_or(&[][..], |template| template.overrides());
    let by_requirements = overrides
        .iter()
        .any(|one| one.instance_requirements.is_some());
    let named = overrides.iter().filter_map(|one| one.instance_type.clone());
    (!by_requirements).then(|| named.collect())
}

fn instance(instance: &types::Instance) -> Option<Instance> {
    Some(Instance {
        id: instance.instance_id.clone()?,
        kind: instance.instance_type.clone().unwrap_or_default(),
        zone: instance.availability_zone.clone().unwrap_or_default(),
        state: state(instance.lifecycle_state.as_ref()?)?,
        healthy: instance.health_status() != Some("Unhealthy"),
        protected: instance.protected_from_scale_in.unwrap_or_default(),
    })
}

/// `None` of one that is gone.
fn state(state: &LifecycleState) -> Option<State> {
    Some(match state {
        LifecycleState::Pending | LifecycleState::PendingProceed => State::Pending,
        LifecycleState::PendingWait => State::PendingWait,
        LifecycleState::Standby => State::Standby,
        LifecycleState::TerminatingWait => State::LeavingWait,
        LifecycleState::Terminating
        | LifecycleState::TerminatingProceed
        | LifecycleState::TerminatingRetained
        | LifecycleState::EnteringStandby
        | LifecycleState::Detaching
        | LifecycleState::Quarantined => State::Leaving,
        LifecycleState::WarmedPendingWait => State::WarmWait,
        LifecycleState::WarmedTerminatingWait => State::WarmLeavingWait,
        LifecycleState::WarmedPending
        | LifecycleState::WarmedPendingProceed
        | LifecycleState::WarmedPendingRetained
        | LifecycleState::WarmedRunning
        | LifecycleState::WarmedStopped
        | LifecycleState::WarmedHibernated
        | LifecycleState::WarmedTerminating
        | LifecycleState::WarmedTerminatingProceed
        | LifecycleState::WarmedTerminatingRetained => State::Warm,
        LifecycleState::Detached
        | LifecycleState::Terminated
        | LifecycleState::WarmedTerminated => return None,
        // Its root volume is replaced while it stays, or it is in a state that is newer than this.
        _ => State::InService,
    })
}

fn hook(hook: &types::LifecycleHook) -> Option<Hook> {
    let on = match hook.lifecycle_transition()? {
        "autoscaling:EC2_INSTANCE_LAUNCHING" => Transition::Launch,
        "autoscaling:EC2_INSTANCE_TERMINATING" => Transition::Terminate,
        _ => return None,
    };
    Some(Hook {
        name: hook.lifecycle_hook_name.clone()?,
        on,
        timeout_s: u32::try_from(hook.heartbeat_timeout?).ok()?,
    })
}

fn refresh(refresh: &types::InstanceRefresh) -> Option<Refresh> {
    let is_over = matches!(
        refresh.status,
        Some(
            InstanceRefreshStatus::Successful
                | InstanceRefreshStatus::Failed
                | InstanceRefreshStatus::Cancelled
                | InstanceRefreshStatus::RollbackFailed
                | InstanceRefreshStatus::RollbackSuccessful
        )
    );
    (!is_over).then(|| Refresh {
        id: refresh.instance_refresh_id.clone().unwrap_or_default(),
        percent: u32::try_from(refresh.percentage_complete.unwrap_or(0)).unwrap_or(0),
    })
}

fn failure(activity: &types::Activity) -> Option<Failure> {
    let failed = activity.status_code == Some(ScalingActivityStatusCode::Failed);
    let ended = activity.end_time.or(activity.start_time);
    let now = std::time::SystemTime::now();
    let age = ended
        .and_then(|ended| std::time::SystemTime::try_from(ended).ok())
        .and_then(|ended| now.duration_since(ended).ok());
    let details: Option<serde_json::Value> = activity
        .details()
        .and_then(|details| serde_json::from_str(details).ok());
    let zone = details.and_then(|details| {
        let zone = details.get("Availability Zone")?.as_str()?;
        Some(zone.to_owned())
    });
    failed.then(|| Failure {
        id: activity.activity_id.clone().unwrap_or_default(),
        message: activity.status_message.clone().unwrap_or_default(),
        zone,
        age_ms: age.unwrap_or_default().as_millis() as u64,
    })
}

/// What became of a call, in terms of what may be done next.
fn of<E>(call: &'static str) -> impl Fn(SdkError<E, HttpResponse>) -> GroupError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    move |error| match &error {
        error if error.raw_response().is_some_and(is_a_page) => GroupError::Unsupported { call },
        SdkError::ServiceError(answer) => {
            let why = (answer.err().message().unwrap_or_default()).to_owned();
            refusal(
                call,
                answer.err().code(),
                answer.raw().status().as_u16(),
                why,
            )
        }
        _ => {
            let why = causes(&error);
            GroupError::NoReply { call, why }
        }
    }
}

/// A page for people: what emulators answer to a call that they do not know. AWS never does.
fn is_a_page(answer: &HttpResponse) -> bool {
    let body = answer.body().bytes().unwrap_or_default();
    let begin = body.get(..14).unwrap_or(body);
    answer.status().as_u16() == 500 && begin.eq_ignore_ascii_case(b"<!doctype html")
}

fn refusal(call: &'static str, code: Option<&str>, status: u16, why: String) -> GroupError {
    match code.unwrap_or_default() {
        "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "RequestThrottled"
        | "TooManyRequestsException" => GroupError::Throttled { call },
        "ScalingActivityInProgress"
        | "ScalingActivityInProgressFault"
        | "ResourceContention"
        | "ResourceContentionFault" => GroupError::Busy { call, why },
        "AccessDenied"
        | "AccessDeniedException"
        | "UnauthorizedOperation"
        | "AuthFailure"
        | "InvalidClientTokenId"
        | "SignatureDoesNotMatch" => GroupError::Denied { call, why },
        "InvalidAction" | "UnknownOperationException" | "NotImplemented" => {
            GroupError::Unsupported { call }
        }
        _ if status == 501 || status == 404 => GroupError::Unsupported { call },
        _ if status >= 500 => GroupError::NoReply { call, why },
        code => {
            let code = code.to_owned();
            GroupError::Refused { call, code, why }
        }
    }
}

/// An error with what lies below it, once each.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let words = deeper.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = deeper.source();
    }
    text
}
