//! A model that was quantized, compared and recorded is served where it is good enough.

use std::path::Path;

use serde_json::json;

use crate::chat::{CHAT, ask, chat};
use crate::worker;

#[tokio::test]
async fn a_decoder_with_a_record_above_the_floor_chats() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/decoders/llama");
    let out = home.path().join("tiny.gguf");
    let run = |args: &[&std::ffi::OsStr]| {
        let output = worker::command().args(args).output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
    };
    let (model, file) = (model.as_os_str(), out.as_os_str());
    run(&[
        "quantize".as_ref(),
        "--model".as_ref(),
        model,
        "--out".as_ref(),
        file,
    ]);
    run(&[
        "compare".as_ref(),
        "--record".as_ref(),
        "--reference".as_ref(),
        model,
        "--model".as_ref(),
        file,
    ]);
    let floors =
        "[quality]\nmin_same_top = 0.1\nmax_kl_divergence = 1.0\nmax_perplexity_ratio = 2.0";
    let place = tempfile::tempdir().expect("a temporary directory");
    let worker = worker::plan(place, file)
        .config(floors)
        .args(["--name", "tiny"])
        .ready()
        .await;
    let (status, body) = ask(&worker, CHAT, &chat(&json!({}))).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["usage"]["completion_tokens"], 12);
}
