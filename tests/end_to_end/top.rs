//! `tidegate-scaler top` beside a fleet that runs.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use tidegate_tests::{Up, binary, eventually};

const POLICY: &str = r#"
[fleet]
kind = "process"
min = 1
max = 2
[slo]
latency = "10s"
[[signal]]
name = "requests"
metric = "concurrency"
statistic = "max"
window = "5s"
target_per_worker = 8
"#;

#[tokio::test]
async fn top_prints_the_page_once_where_there_is_no_terminal() {
    let up = Up::start(POLICY).await;
    let text = eventually("the worker serves", async || {
        let mut command = Command::new(binary("tidegate-scaler"));
        command.args(["top", "--listen", &up.own.to_string()]);
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        let output = output.expect("no panic").expect("it starts");
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success(), "{text}");
        text.contains("1 worker serves; ").then_some(text)
    })
    .await;
    for expected in [
        " needed, 1 to 2 allowed",
        "\nWorkers\n1 of 1 proxies answer\nWorker ",
        "\nQueue\nModel  Class ",
        "\ntimed ",
        "\nDecisions\n",
    ] {
        assert!(
            text.contains(expected),
            "{expected:?} is missing in:\n{text}"
        );
    }
    assert!(!text.contains('\x1b'), "{text}");
}

/// In a terminal of the command `script`'s making, until q is pressed.
#[tokio::test]
async fn top_fills_a_terminal_and_leaves_it_as_it_was() {
    let up = Up::start(POLICY).await;
    let top = format!(
        "stty rows 40 cols 120; exec {} top --listen {}",
        binary("tidegate-scaler").display(),
        up.own
    );
    let ended = tokio::task::spawn_blocking(move || {
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &top, "/dev/null"]);
        script.env("TERM", "xterm").env("NO_COLOR", "1");
        script.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = script.spawn().expect("util-linux has script");
        let mut keys = script.stdin.take().expect("piped");
        let mut out = script.stdout.take().expect("piped");
        let mut seen = Vec::new();
        let mut piece = [0; 4096];
        let mut read = |until: &str| {
            while !String::from_utf8_lossy(&seen).contains(until) {
                let length = out.read(&mut piece).expect("it can be read");
                assert!(length > 0, "{}", String::from_utf8_lossy(&seen));
                seen.extend_from_slice(&piece[..length]);
            }
            String::from_utf8_lossy(&seen).into_owned()
        };
        // Blanks are not written: the screen has them.
        read("quit");
        keys.write_all(b"\t").expect("it reads keys");
        read("Answered");
        keys.write_all(b"q").expect("it reads keys");
        // The alternate screen is left, and the cursor is there again.
        let all = read("\x1b[?1049l");
        drop(keys);
        (script.wait().expect("it ends"), all)
    });
    let (status, all) = ended.await.expect("no panic");
    assert!(status.success(), "{all}");
    // No colour was asked for: no foreground but the terminal's own.
    let colored = (30..=37).map(|color| format!("\x1b[{color}m"));
    assert_eq!(colored.filter(|color| all.contains(color)).count(), 0);
}
