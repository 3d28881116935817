//! Other autoscalers to compare with, as their source code and guides describe them.
//!
//! Each sees the metric that its users give it, at its own period and lag, and at its product's
//! default windows; its target is a share of a worker's capacity, 70 % unless tuned. All of them
//! get Tidegate's queue and graceful drain. What a product leaves open is said where it is decided.

mod alarm;
mod history;
mod hpa;
mod knative;
mod ray_serve;
mod sagemaker;
mod sky_serve;
mod step_scaling;
mod target_tracking;
mod warm_up;

#[cfg(test)]
mod feed;

use std::time::Duration;

use crate::sim::{Autoscaler, Scenario};

/// Target shares of the settings space.
pub const TARGETS: [f64; 6] = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95];

/// The target of every rival at its defaults.
const DEFAULT_TARGET: f64 = 0.7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    /// Kubernetes' HorizontalPodAutoscaler v2 on requests in flight per pod.
    Hpa,
    /// KEDA in front of HPA, on requests in the queue and in flight.
    KedaHpa,
    /// Knative's pod autoscaler on concurrency.
    KnativeKpa,
    /// EC2 Auto Scaling target tracking on utilization.
    AwsTargetTracking,
    /// EC2 Auto Scaling step scaling on utilization.
    AwsStepScaling,
    /// SageMaker target tracking on invocations per instance.
    SageMaker,
    /// Ray Serve's default policy on ongoing requests.
    RayServe,
    /// SkyServe's request rate autoscaler.
    SkyServe,
}

/// What a worker can do, and how many there may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// Requests at once.
    pub slots: f64,
    /// Requests per second with all slots busy.
    pub per_s: f64,
    pub min: u32,
    pub max: u32,
}

/// One point of a rival's settings space.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// Share of a worker's capacity that is aimed at.
    pub target: f64,
    /// The window that decides how soon it shrinks; other windows of the product keep their
    /// ratio to it where there are any.
    pub window: Duration,
}

impl Capacity {
    pub fn of(scenario: &Scenario) -> Capacity {
        Capacity {
            slots: f64::from(scenario.slots),
            per_s: scenario.worker_rate(),
            min: scenario.min_workers,
            max: scenario.max_workers,
        }
    }

    fn clamp(&self, workers: u32) -> u32 {
        workers.clamp(self.min, self.max)
    }
}

impl Rival {
    pub const ALL: [Rival; 8] = [
        Rival::Hpa,
        Rival::KedaHpa,
        Rival::KnativeKpa,
        Rival::AwsTargetTracking,
        Rival::AwsStepScaling,
        Rival::SageMaker,
        Rival::RayServe,
        Rival::SkyServe,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Rival::Hpa => "hpa",
            Rival::KedaHpa => "keda",
            Rival::KnativeKpa => "kpa",
            Rival::AwsTargetTracking => "aws-tracking",
            Rival::AwsStepScaling => "aws-step",
            Rival::SageMaker => "sagemaker",
            Rival::RayServe => "ray-serve",
            Rival::SkyServe => "sky-serve",
        }
    }

    /// The product's default windows, with the target at 70 %.
    pub fn defaults(self) -> Setting {
        let window = match self {
            Rival::Hpa | Rival::KedaHpa => hpa::STABILIZATION,
            Rival::KnativeKpa => knative::STABLE_WINDOW,
            Rival::AwsTargetTracking | Rival::AwsStepScaling => warm_up::DEFAULT,
            Rival::SageMaker => sagemaker::COOLDOWN,
            Rival::RayServe => ray_serve::DOWNSCALE_DELAY,
            Rival::SkyServe => sky_serve::DOWNSCALE_DELAY,
        };
        let target = DEFAULT_TARGET;
        Setting { target, window }
    }

    /// The 30 points that tuning may choose from: six targets, and five windows around the
    /// product's own.
    pub fn settings(self) -> Vec<Setting> {
        let shares = match self {
            Rival::Hpa | Rival::KedaHpa => [0.0, 0.2, 0.5, 1.0, 2.0],
            Rival::KnativeKpa => [0.5, 1.0, 2.0, 5.0, 10.0],
            _ => [0.1, 0.2, 0.5, 1.0, 2.0],
        };
        let usual = self.defaults().window;
        let windows = shares.map(|share| usual.mul_f64(share));
        let points = TARGETS.into_iter().flat_map(|target| {
            let setting = move |window| Setting { target, window };
            windows.into_iter().map(setting)
        });
        points.collect()
    }

    pub fn build(self, capacity: Capacity, setting: Setting) -> Box<dyn Autoscaler> {
        match self {
            Rival::Hpa => Box::new(hpa::Hpa::on_pods(capacity, setting)),
            Rival::KedaHpa => Box::new(hpa::Hpa::on_queue(capacity, setting)),
            Rival::KnativeKpa => Box::new(knative::Kpa::new(capacity, setting)),
            Rival::AwsTargetTracking => {
                Box::new(target_tracking::TargetTracking::new(capacity, setting))
            }
            Rival::AwsStepScaling => Box::new(step_scaling::StepScaling::new(capacity, setting)),
            Rival::SageMaker => Box::new(sagemaker::SageMaker::new(capacity, setting)),
            Rival::RayServe => Box::new(ray_serve::RayServe::new(capacity, setting)),
            Rival::SkyServe => Box::new(sky_serve::SkyServe::new(capacity, setting)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_settings_space_has_thirty_points_with_the_defaults_among_them() {
        for rival in Rival::ALL {
            let settings = rival.settings();
            assert_eq!(settings.len(), 30, "{}", rival.name());
            assert!(settings.contains(&rival.defaults()), "{}", rival.name());
        }
    }
}
