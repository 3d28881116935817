//! Kubernetes' HorizontalPodAutoscaler v2, alone and behind KEDA.
//!
//! Source: kubernetes pkg/controller/podautoscaler, replica_calculator.go and horizontal.go, with
//! no `behavior` set. A worker that boots is a pending pod. KEDA adds an external metric that
//! counts the queue too; its own decisions, from and to zero, do not arise with a minimum of one.

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_queue::Moment;

use super::history::History;
use super::{Capacity, Setting};
use crate::sim::{Autoscaler, Observed, Orders, Sample, Timing};

/// `--horizontal-pod-autoscaler-downscale-stabilization`.
pub(super) const STABILIZATION: Duration = Duration::from_secs(300);

/// `--horizontal-pod-autoscaler-sync-period`.
const PERIOD: Duration = Duration::from_secs(15);

/// Age of what a metrics adapter serves: its scrape interval.
const LAG: Duration = Duration::from_secs(15);

/// The rate window of usual adapter rules.
const METRIC_WINDOW: Duration = Duration::from_secs(30);

/// `--horizontal-pod-autoscaler-tolerance`.
const TOLERANCE: f64 = 0.1;

/// Up to this many pods are added at once however few there are.
const SCALE_UP_FLOOR: u32 = 4;

#[derive(Clone, Copy, Debug)]
enum Metric {
    /// Pods, AverageValue: requests in flight per pod.
    Pods,
    /// External, AverageValue: requests in the queue and in flight, as KEDA's scalers count.
    Queue,
}

#[derive(Clone, Debug)]
pub(super) struct Hpa {
    capacity: Capacity,
    metric: Metric,
    /// Requests per pod, in thousandths: quantities have three digits.
    target_milli: f64,
    stabilization: Duration,
    history: History,
    recommendations: VecDeque<(Moment, u32)>,
    desired: Option<u32>,
}

impl Hpa {
    pub fn on_pods(capacity: Capacity, setting: Setting) -> Hpa {
        Hpa::new(capacity, setting, Metric::Pods)
    }

    pub fn on_queue(capacity: Capacity, setting: Setting) -> Hpa {
        Hpa::new(capacity, setting, Metric::Queue)
    }

    fn new(capacity: Capacity, setting: Setting, metric: Metric) -> Hpa {
        Hpa {
            capacity,
            metric,
            target_milli: (setting.target * capacity.slots * 1000.0).round(),
            stabilization: setting.window,
            history: History::new(METRIC_WINDOW),
            recommendations: VecDeque::new(),
            desired: None,
        }
    }

    fn proposal(&mut self, sample: Sample, pods: Pods) -> Option<u32> {
        match self.metric {
            Metric::Pods => {
                self.history.push(sample);
                let in_flight = self.history.means(METRIC_WINDOW)?.in_flight;
                Some(pods.by_pods_metric(in_flight * 1000.0, self.target_milli))
            }
            Metric::Queue => {
                let queue = f64::from(sample.in_flight + sample.waiting) * 1000.0;
                Some(pods.by_external_metric(queue, self.target_milli))
            }
        }
    }

    /// The highest recommendation of the window, this one among them; growth at most doubles.
    fn stabilized(&mut self, now: Moment, current: u32, proposal: u32) -> u32 {
        let cutoff = now.saturating_sub(self.stabilization);
        self.recommendations.retain(|(at, _)| *at > cutoff);
        self.recommendations.push_back((now, proposal));
        let highest = self.recommendations.iter().map(|(_, count)| *count).max();
        let limit = (2 * current).max(SCALE_UP_FLOOR);
        self.capacity.clamp(highest.unwrap_or(proposal).min(limit))
    }
}

impl Autoscaler for Hpa {
    fn timing(&self) -> Timing {
        Timing {
            period: PERIOD,
            lag: LAG,
        }
    }

    fn tick(&mut self, now: Moment, observed: &Observed<'_>) -> Orders {
        let there = observed.serving + observed.booting;
        let current = self.desired.unwrap_or(there);
        let pods = Pods {
            wanted: current,
            ready: observed.serving,
            pending: observed.booting,
        };
        let proposal = observed
            .sample
            .and_then(|sample| self.proposal(sample, pods));
        let desired = match proposal {
            Some(proposal) => self.stabilized(now, current, proposal),
            // All metrics failed: the scale stays as it is.
            None => current,
        };
        self.desired = Some(desired);
        Orders::Size(desired)
    }
}

/// The pods of a scale.
#[derive(Clone, Copy, Debug)]
struct Pods {
    wanted: u32,
    ready: u32,
    pending: u32,
}

impl Pods {
    /// `GetMetricReplicas`: usage summed over ready pods, pending ones counted as idle when it
    /// would grow.
    fn by_pods_metric(self, usage: f64, target: f64) -> u32 {
        let ready = f64::from(self.ready.max(1));
        let ratio = (usage / ready).floor() / target;
        if self.pending == 0 || ratio <= 1.0 {
            return match is_tolerated(ratio) {
                true => self.wanted,
                false => (ratio * f64::from(self.ready)).ceil() as u32,
            };
        }
        let all = f64::from(self.ready + self.pending);
        let ratio = (usage / all).floor() / target;
        let proposal = (ratio * all).ceil() as u32;
        if is_tolerated(ratio) || ratio < 1.0 || proposal < self.wanted {
            return self.wanted;
        }
        proposal
    }

    /// `GetExternalPerPodMetricReplicas`: readiness plays no part.
    fn by_external_metric(self, usage: f64, target: f64) -> u32 {
        let there = f64::from((self.ready + self.pending).max(1));
        match is_tolerated(usage / (target * there)) {
            true => self.ready + self.pending,
            false => (usage / target).ceil() as u32,
        }
    }
}

fn is_tolerated(ratio: f64) -> bool {
    (ratio - 1.0).abs() <= TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::super::feed::Feed;
    use super::super::{Capacity, Rival};
    use super::*;

    const CAPACITY: Capacity = Capacity {
        slots: 4.0,
        per_s: 2.0,
        min: 1,
        max: 100,
    };

    #[test]
    fn pods_metric_by_hand() {
        let pods = |wanted, ready, pending| Pods {
            wanted,
            ready,
            pending,
        };
        // Target 2.8 a pod.
        for (pods, in_flight, expected) in [
            (pods(10, 10, 0), 30.0, 10), // 3.0 / 2.8 = 1.07: tolerated
            (pods(10, 10, 0), 40.0, 15), // 4.0 / 2.8 = 1.43, times 10
            (pods(10, 10, 0), 14.0, 5),  // 1.4 / 2.8 = 0.5
            (pods(15, 10, 5), 40.0, 15), // over 15 pods 2.66 / 2.8 = 0.95: tolerated
            (pods(12, 10, 2), 40.0, 15), // over 12 pods 3.333 / 2.8 = 1.19, times 12
            (pods(14, 10, 4), 14.0, 5),  // shrinking looks at the ready ones alone
        ] {
            assert_eq!(pods.by_pods_metric(in_flight * 1000.0, 2800.0), expected);
        }
    }

    #[test]
    fn grows_at_once_at_most_twofold_and_shrinks_after_the_window() {
        let mut hpa = Hpa::on_queue(CAPACITY, Rival::KedaHpa.defaults());
        let mut feed = Feed::default();
        feed.workers(10, 0).in_flight(40.0).waiting(60.0);
        assert_eq!(
            feed.after(15).ask(&mut hpa),
            Some(20),
            "100 / 2.8 = 36, limited to 20"
        );
        feed.workers(10, 10);
        assert_eq!(feed.after(15).ask(&mut hpa), Some(36));
        feed.workers(36, 0).in_flight(14.0).waiting(0.0);
        let answers = feed.repeat(15, 21, &mut hpa);
        assert!(answers[..19].iter().all(|answer| *answer == Some(36)));
        assert_eq!(answers[19], Some(5), "300 s after the last 36");
    }

    #[test]
    fn without_metrics_the_scale_stays() {
        let mut hpa = Hpa::on_pods(CAPACITY, Rival::Hpa.defaults());
        let orders = hpa.tick(Moment::from_secs(15), &Observed::new(None, 7, 2));
        assert_eq!(orders, Orders::Size(9));
    }
}
