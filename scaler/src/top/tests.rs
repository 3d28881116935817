//! The screen and the plain text, of a state that was made up.

use ratatui_core::backend::TestBackend;
use ratatui_core::style::Color;
use ratatui_core::terminal::Terminal;
use serde_json::{Value, json};

use super::keys::Key;
use super::screen::{Colors, Screen};
use super::{Past, Shown, plain};

fn fleet(name: &str) -> Value {
    json!({
        "fleet": name, "at": 1_800_000_090_000_u64, "need": 3, "min": 1, "max": 8,
        "serving": 2, "booting": 1, "waiting": 5, "in_flight": 8, "oldest_waiting_ms": 1500,
        "per_s": 12.34, "p50_ms": 80.0, "p95_ms": 2500.0, "p99_ms": 3000.0, "slo_ms": 2000.0,
        "cost_per_hour": 0.34, "cost_total": 12.5,
        "reason": "2 -> 3 workers: requests asks for 3; at most 1 a minute",
        "holds": ["at most 1 a minute"],
        "queues": [{"model": "mini", "class": "chat", "waiting": 5, "in_flight": 8,
                    "oldest_waiting_ms": 1500, "arrivals_total": 100, "answered_total": 80,
                    "refused_total": 4, "failed_total": 2, "aborted_total": 1}],
        "workers": [
            {"id": "w-1", "state": "serving", "launched": 1_800_000_000_000_u64, "slots": 4,
             "busy": 4, "heartbeat_age_ms": 300},
            {"id": "w-2", "state": "booting", "launched": 1_800_000_080_000_u64},
        ],
        "proxies": [{"address": "a:9090", "up": true}, {"address": "b:9090", "up": false}],
        "of a later version": 1,
    })
}

fn shown(batches: Value) -> Shown {
    let status = json!({
        "version": "0.1.0", "fleets": [fleet("mini"), fleet("chat")], "batches": batches,
    });
    let past = json!({
        "points": [],
        "decisions": [
            {"at": 1_800_000_000_000_u64, "by": "operator", "reason": "paused by hand"},
            {"at": 1_800_000_060_000_u64, "by": "policy", "size": [2, 3], "reason": "requests"},
        ],
    });
    Shown {
        status: serde_json::from_value(status).expect("a status"),
        past: serde_json::from_value::<Past>(past).expect("a past"),
    }
}

fn batches() -> Value {
    json!({
        "address": "http://c:8081", "up": true, "report": {
            "class": "batch", "lines_waiting": 900, "lines_in_flight": 32, "oldest_ms": 60000,
            "batches": [{"id": "batch_1", "endpoint": "/v1/embeddings", "model": "mini",
                         "key": "shop", "status": "in_progress", "lines": 1000, "done": 60,
                         "failed": 8, "per_s": 20.0, "left_ms": 46600, "age_ms": 60000}],
        },
    })
}

struct Drawn {
    text: String,
    colors: Vec<Color>,
}

fn draw(screen: &mut Screen, width: u16, height: u16) -> Drawn {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("in memory");
    terminal
        .draw(|frame| screen.draw(frame))
        .expect("in memory");
    let buffer = terminal.backend().buffer();
    let lines = buffer.content.chunks(width.into());
    let line = |cells: &[ratatui_core::buffer::Cell]| -> String {
        let text: String = cells.iter().map(|cell| cell.symbol()).collect();
        text.trim_end().to_owned() + "\n"
    };
    Drawn {
        text: lines.map(line).collect(),
        colors: buffer.content.iter().map(|cell| cell.fg).collect(),
    }
}

fn screen(colors: Colors, batches: Value) -> Screen {
    let mut screen = Screen::new("http://a:9091".to_owned(), colors);
    screen.show(shown(batches));
    screen
}

#[track_caller]
fn assert_has(text: &str, expected: &[&str]) {
    for expected in expected {
        assert!(
            text.contains(expected),
            "{expected:?} is missing in:\n{text}"
        );
    }
}

#[test]
fn the_screen_has_fleet_figures_and_one_table_at_a_time() {
    let mut screen = screen(Colors::Some, batches());
    let workers = draw(&mut screen, 120, 30).text;
    assert_has(
        &workers,
        &[
            "Tidegate  mini  live, version 0.1.0, http://a:9091\n",
            "2 workers serve, 1 more boots; 3 needed, 1 to 8 allowed\n",
            // What limits the fleet has a line of its own.
            "\n2 -> 3 workers: requests asks for 3\nat most 1 a minute\n",
            "2.5 s",
            "12.50",
            "Workers (2)",
            "1 of 2 proxies answer; silent: b:9090",
            "\nw-1     serving  4 of 4      300 ms ago  90.0 s\n",
            "\nw-2     booting  –           none yet    10.0 s\n",
            "f next fleet",
        ],
    );
    screen.take(Key::NextPart);
    let queue = draw(&mut screen, 120, 30).text;
    assert_has(
        &queue,
        &[
            "\nmini           chat   5         1.5 s",
            "\nbatch service  batch  900       60.0 s",
        ],
    );
    assert!(!queue.contains("w-1"), "{queue}");
    screen.take(Key::NextPart);
    let batches = draw(&mut screen, 120, 30).text;
    assert_has(
        &batches,
        &[
            "900 lines wait at the batch service, 32 are at the proxy",
            "batch_1  /v1/embeddings mini  shop  60 of 1000, 8 failed  in progress  20.0     46.6 s     60.0 s",
        ],
    );
    screen.take(Key::NextPart);
    let decisions = draw(&mut screen, 120, 30).text;
    assert_has(
        &decisions,
        &[
            "policy    2 → 3    requests\n",
            "operator  –        paused by hand\n",
        ],
    );
    // The newest comes first, and after the last table the first.
    assert!(decisions.find("policy") < decisions.find("operator"));
    screen.take(Key::NextPart);
    assert_eq!(draw(&mut screen, 120, 30).text, workers);
    screen.take(Key::PreviousPart);
    assert_eq!(draw(&mut screen, 120, 30).text, decisions);
}

#[test]
fn fleets_and_rows_are_chosen_by_keys() {
    let mut screen = screen(Colors::Some, Value::Null);
    assert_eq!(screen.fleet(), Some("mini"));
    screen.choose(Some("chat"));
    assert_eq!(screen.fleet(), Some("chat"));
    screen.take(Key::NextFleet);
    assert_eq!(screen.fleet(), Some("mini"));
    // Without a batch service there is no table of batches.
    assert!(!draw(&mut screen, 120, 30).text.contains("Batches"));
    for key in [Key::Down, Key::PageDown, Key::Up, Key::PageUp] {
        screen.take(key);
        draw(&mut screen, 120, 30);
    }
}

#[test]
fn no_color_is_no_color_and_a_late_percentile_is_red() {
    let mut colored = screen(Colors::Some, batches());
    assert!(draw(&mut colored, 120, 30).colors.contains(&Color::Red));
    let mut plain = screen(Colors::None, batches());
    plain.lose(&anyhow::anyhow!("refused"));
    let drawn = draw(&mut plain, 120, 30);
    assert_has(&drawn.text, &["no connection, retrying: refused"]);
    assert!(drawn.colors.iter().all(|color| *color == Color::Reset));
}

#[test]
fn a_small_terminal_holds_what_fits() {
    for (width, height) in [(1, 1), (20, 5), (40, 12), (80, 24)] {
        let mut screen = screen(Colors::Some, batches());
        for _ in 0..4 {
            draw(&mut screen, width, height);
            screen.take(Key::NextPart);
        }
    }
    let mut empty = Screen::new(String::new(), Colors::Some);
    assert_has(
        &draw(&mut empty, 80, 24).text,
        &["waiting for the first tick"],
    );
}

#[test]
fn plain_text_has_every_table() {
    let away = json!({"address": "http://c:8081", "up": false, "why": "connection refused"});
    let mut out = Vec::new();
    plain::print(&shown(away), Some("mini"), &mut out).expect("in memory");
    let text = String::from_utf8(out).expect("text");
    assert_has(
        &text,
        &[
            "mini: 2 workers serve, 1 more boots; 3 needed, 1 to 8 allowed\n",
            "Oldest wait      1.5 s\n",
            "\nWorkers\n1 of 2 proxies answer; silent: b:9090\nWorker  State",
            "\nw-1     serving  4 of 4      300 ms ago  90.0 s\n",
            "\nThe batch service at http://c:8081 does not answer: connection refused\nnot known\n",
            "policy    2 → 3    requests\n",
        ],
    );
    assert!(!text.contains("chat:"), "{text}");
}
