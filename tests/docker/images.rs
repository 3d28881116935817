//! What each image is: small, without rights, and in working order by itself.

use std::time::Duration;

use tidegate_tests::{default_model, within};

use crate::stack::docker;

const IMAGES: [&str; 4] = [
    "tidegate-proxy",
    "tidegate-scaler",
    "tidegate-worker",
    "tidegate-batch",
];

const MOST_BYTES: u64 = 60_000_000;

#[test]
fn images_are_small_and_run_as_nobody_in_particular() {
    for image in IMAGES {
        let format = "{{.Size}} {{.Config.User}} {{json .Config.Healthcheck.Test}}";
        let said = docker(&["image", "inspect", "--format", format, image]);
        let mut said = said.split_whitespace();
        let size = said.next().expect("a size");
        let bytes: u64 = size.parse().expect("bytes");
        println!("{image}: {:.1} MB", bytes as f64 / 1e6);
        assert!(bytes <= MOST_BYTES, "{image} has {bytes} bytes");
        assert_eq!(said.next(), Some("65532:65532"), "{image}");
        let check = said.next().expect("a health check");
        assert!(
            check.starts_with(r#"["CMD","#),
            "{image}: {check} takes a shell"
        );
    }
}

#[tokio::test]
async fn a_worker_serves_by_the_conventions_of_its_image_alone() {
    let model = format!("{}:/opt/ml/model:ro", default_model().display());
    let run = [
        "run",
        "--detach",
        "--read-only",
        "--cap-drop",
        "ALL",
        "--volume",
        &model,
    ];
    let id = docker(&[&run[..], &["tidegate-worker", "serve"]].concat());
    let _end = Removed(id.clone());
    within(
        Duration::from_secs(60),
        "the worker is healthy",
        async || {
            let state = docker(&["inspect", "--format", "{{.State.Health.Status}}", &id]);
            (state == "healthy").then_some(())
        },
    )
    .await;
}

/// A container that goes with its test.
struct Removed(String);

impl Drop for Removed {
    fn drop(&mut self) {
        docker(&["rm", "--force", "--volumes", &self.0]);
    }
}
