//! Traces as they are met in the wild: every form that is allowed, with the oddities that such
//! files have, and clear words about what cannot be used.

use super::backtest::{backtest, configs, file, refused, rows, scaler};

/// What is to be true of any trace's row.
#[track_caller]
fn replays(name: &str, content: &str, options: &[&str]) {
    let (_kept, trace) = file(name, content);
    let arguments = [&["--trace", trace.as_str(), "--json"], options].concat();
    for row in rows(&backtest(&arguments)) {
        assert_eq!(row["trace"], name);
        let number = |key: &str| {
            let value = row[key].as_f64();
            value.unwrap_or_else(|| panic!("{name}: {key} is {}", row[key]))
        };
        assert!((0.0..=1.0).contains(&number("attainment")), "{name}: {row}");
        for key in [
            "p99_ms",
            "instance_hours",
            "lower_bound_hours",
            "reversals_per_hour",
        ] {
            assert!(number(key) >= 0.0, "{name}: {row}");
        }
        assert_eq!(row["killed_in_flight"], 0, "{name}");
    }
}

/// A header and a row for each of so many steps.
fn table(header: &str, count: usize, row: impl Fn(usize) -> String) -> String {
    let rows: Vec<String> = (0..count).map(row).collect();
    format!("{header}\n{}\n", rows.join("\n"))
}

#[test]
fn windows_with_gaps_zeros_and_foreign_line_ends_are_replayed() {
    let rates = table("t_s,total_rps,asym_idc,active_clients", 20, |n| {
        match n % 5 {
            3 => format!("{},0,0,0", n * 60),
            _ => format!("{},{},4.5,7", n * 60, 3 + n % 4),
        }
    });
    replays("gaps.csv", &rates, &[]);
    replays("windows.csv", &rates.replace('\n', "\r\n"), &[]);
    replays("marked.csv", &format!("\u{feff}{rates}\n\n"), &[]);
    let spaced = rates.replace(',', " , ");
    replays("spaced.csv", &spaced, &[]);
    let left_out = table("timestamp,value", 30, |n| {
        let at = if n < 15 { n * 30 } else { 600 + n * 30 };
        format!("{at},{}", if n % 7 == 0 { 0 } else { 100 + n })
    });
    replays("left-out.csv", &left_out, &[]);
    let capital = rates_of_thousands("Timestamp,Value");
    replays("thousands.csv", &capital, &[]);
    let huge = table("timestamp,value", 10, |n| format!("{},9e14", n * 60));
    replays("huge.csv", &huge, &[]);
}

/// As spreadsheets write large counts.
fn rates_of_thousands(header: &str) -> String {
    table(header, 10, |n| format!("{},\"1,2{n}0,000.5\"", n * 60))
}

#[test]
fn requests_out_of_order_and_at_once_are_replayed() {
    let jumbled = table("timestamp,cost", 400, |n| {
        format!("{},1", (n * 37 % 400) as f64 * 0.5)
    });
    replays("jumbled.csv", &jumbled, &[]);
    let at_once = table("timestamp_ms,input_length,output_length", 300, |n| {
        format!("{},{n},4", n / 30 * 3000)
    });
    replays("at-once.csv", &at_once, &[]);
    let log = table("timestamp,model,outcome,ms", 300, |n| {
        let outcome = ["answered", "shed", "expired"][n % 3];
        format!("{}.125,mini-lm,{outcome},{}", 1_764_000_000 + n, n * 7)
    });
    replays("access.csv", &log, &[]);
}

#[test]
fn a_trace_may_be_shorter_than_the_lead_time() {
    let short = table("timestamp,value", 4, |n| format!("{},50", n * 10));
    let lead_times = ["--lead-time", "10s", "--lead-time", "5m", "--seeds", "2"];
    replays("short.csv", &short, &lead_times);
}

#[test]
fn several_traces_may_be_named_at_once_or_one_by_one() {
    let rates = table("timestamp,value", 10, |n| format!("{},60", n * 30));
    let (_first, a) = file("a.csv", &rates);
    let (_second, b) = file("b.csv", &rates);
    let names = |arguments: &[&str]| -> Vec<String> {
        let rows = rows(&backtest(&[arguments, &["--json"]].concat()));
        let names = rows.iter().map(|row| row["trace"].to_string());
        names.collect()
    };
    let expected = ["\"a.csv\"", "\"b.csv\""];
    assert_eq!(names(&["--trace", &a, &b]), expected);
    assert_eq!(names(&["--trace", &a, "--trace", &b]), expected);
}

#[test]
fn what_says_nothing_about_a_demand_is_refused_by_name() {
    let cases = [
        ("", "line 1: the trace is empty; expected a header"),
        (
            "timestamp,value\n",
            "line 1: the trace ends here; expected two rows or more, over some time",
        ),
        (
            "t_s,total_rps,asym_idc\n0,5,1\n",
            "line 2: the trace ends here; expected two rows or more, over some time",
        ),
        (
            "timestamp,cost\n7,1\n7,1\n7,1\n",
            "line 4: the trace ends here; expected two rows or more, over some time",
        ),
        ("timestamp,value\n0,0\n60,0\n", "no row has any requests"),
        (
            // A decimal comma, or thousands: nobody knows.
            "timestamp;value\n0;1\n60;1,100\n",
            "line 3: value is \"1,100\"; expected a number from 0 on",
        ),
        (
            "timestamp,value\n0,1\n60,\"1,10\"\n",
            "line 3: value is \"1,10\"; expected a number from 0 on",
        ),
        (
            "timestamp,value\n0,1\n60,-1\n",
            "line 3: value is \"-1\"; expected a number from 0 on",
        ),
        (
            "timestamp,value\n0,1\n60,NaN\n",
            "line 3: value is \"NaN\"; expected a number from 0 on",
        ),
        (
            "timestamp,value\n0,1\n60,1\n30,1\n",
            "line 4: its time is before that of the row above",
        ),
        (
            "When;Value\n0;1\n",
            "line 1: the header \"When;Value\" is not known; expected one of",
        ),
    ];
    for (content, message) in cases {
        let (_kept, trace) = file("odd.csv", content);
        let output = backtest(&["--trace", &trace]);
        refused(&output, 1, &format!("odd.csv: {message}"));
    }
}

#[test]
fn service_times_may_be_measured_ones() {
    let percentiles = "min = \"0s\", p25 = \"500ms\", p50 = \"1s\", p75 = \"2s\", \
        p90 = \"4s\", p95 = \"6s\", p99 = \"9s\", max = \"9500ms\"";
    let run = |service: &str| {
        let (_kept, scenario) = file("scenario.toml", &format!("[service]\n{service}\n"));
        let policy = configs("policy.toml");
        let fixed = ["backtest", "--policy", &policy, "--scenario", &scenario];
        let rest = ["--trace", "constant:for=8m", "--lead-time", "60s", "--json"];
        scaler(&[fixed.as_slice(), &rest].concat())
    };
    let measured = format!("distribution = \"measured\"\npercentiles = {{ {percentiles} }}");
    let row = &rows(&run(&measured))[0];
    // Nothing takes longer than 9.5 s, and one of a hundred nearly as long.
    let p99 = row["p99_ms"].as_f64().expect("a number");
    assert!((8_500.0..12_000.0).contains(&p99), "{row}");
    refused(
        &run("distribution = \"measured\""),
        78,
        "service.percentiles: found none, expected min, p25, ",
    );
    let falling = measured.replace("p75 = \"2s\"", "p75 = \"900ms\"");
    refused(&run(&falling), 78, "expected 1 s or more");
}
