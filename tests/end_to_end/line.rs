//! The line, through the proxy.

use futures_util::future::join_all;
use tidegate_tests::{Stand, StandConfig};

#[tokio::test]
async fn ten_requests_on_four_slots_are_all_answered_in_order() {
    let stand = Stand::start(StandConfig::default()).await;
    let _worker = stand.timed_worker("w", &["--slots", "4"]).await;
    let client = stand.client();
    let requests = (0..10).map(|index| {
        let client = client.clone();
        async move {
            tokio::time::sleep(std::time::Duration::from_millis(20 * index)).await;
            client.timed(300).await.timed()
        }
    });
    let began: Vec<_> = join_all(requests)
        .await
        .iter()
        .map(|timed| timed.began_us)
        .collect();
    assert!(
        began.is_sorted(),
        "served in the order of arrival: {began:?}"
    );
}
