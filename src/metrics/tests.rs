//! Names keep Prometheus' rules, the page is bounded, and promtool has nothing to say against it.

use std::io::Write;
use std::process::{Command, Stdio};

use super::series::*;
use super::*;

/// What `promtool check metrics` says about the page; None when there is no promtool.
fn promtool(page: &str) -> Option<String> {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.ok()?;
    child
        .stdin
        .take()
        .unwrap()
        .write_all(page.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    Some(
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr),
    )
}

#[track_caller]
fn check_page(page: &str) {
    if let Some(said) = promtool(page) {
        assert_eq!(said, "", "\n{page}");
    } else {
        eprintln!("promtool is not installed: the page was not checked");
    }
}

#[test]
fn names_keep_the_rules() {
    for series in SERIES {
        let name = series.name;
        assert!(
            name.starts_with("tidegate_") || name.starts_with("process_"),
            "{name}"
        );
        assert_eq!(
            name.ends_with("_total"),
            series.kind == Kind::Counter,
            "{name}"
        );
        assert!(
            series.kind != Kind::Histogram || name.ends_with("_seconds"),
            "{name}"
        );
        assert!(series.help.ends_with('.'), "{name}");
        assert_eq!(
            SERIES.iter().filter(|other| other.name == name).count(),
            1,
            "{name}"
        );
        for unit in ["_ms", "_us", "_millis", "_kb"] {
            assert!(!name.contains(unit), "{name}");
        }
    }
}

/// Every series with a value, so that promtool sees every name, type and help.
#[test]
fn a_page_with_every_series_is_valid() {
    let metrics = Metrics::new().unwrap();
    metrics.add_source(|samples| {
        for series in SERIES
            .iter()
            .filter(|series| !series.name.starts_with("process_"))
        {
            let values: Vec<&str> = series
                .labels
                .iter()
                .map(|_| "odd \"value\"\\ with\nbreaks €")
                .collect();
            match series.kind {
                Kind::Histogram => {
                    let count_below = |us: u64| us.min(1_000);
                    samples.durations(
                        series,
                        &values,
                        &Durations {
                            count_below: &count_below,
                            count: 1_000,
                            sum_us: 7,
                        },
                    );
                }
                _ => samples.set(series, &values, 1.5),
            }
        }
    });
    let page = metrics.text().unwrap();
    for series in SERIES {
        assert!(
            page.contains(&format!("# TYPE {} ", series.name)),
            "{} is not on the page",
            series.name
        );
    }
    assert!(page.contains("tidegate_query_queue_seconds_bucket{le=\"0.000064\"} 64\n"));
    assert!(page.contains("tidegate_query_queue_seconds_bucket{le=\"0.001024\"} 1000\n"));
    assert!(page.contains("tidegate_query_queue_seconds_bucket{le=\"+Inf\"} 1000\n"));
    assert!(page.contains("process_resident_memory_bytes "));
    check_page(&page);
}

#[test]
fn too_many_samples_and_twins_are_dropped_and_counted() {
    let metrics = Metrics::new().unwrap();
    metrics.add_source(|samples| {
        for number in 0..SAMPLES_MAX + 10 {
            samples.count(&ERRORS, &[&number.to_string()], 1);
        }
        samples.count(&ERRORS, &["0"], 1);
        samples.count(&LOST, &[&"x".repeat(1_000)], 1);
    });
    let dropped = |page: &str| {
        page.lines().find_map(|line| {
            line.strip_prefix("tidegate_metrics_dropped_samples_total ")
                .map(str::to_owned)
        })
    };
    let page = metrics.text().unwrap();
    assert_eq!(page.matches("tidegate_errors_total{").count(), SAMPLES_MAX);
    assert_eq!(dropped(&page).as_deref(), Some("11"));
    assert!(page.contains(&format!("what=\"{}\"", "x".repeat(LABEL_BYTES_MAX))));
    let page = metrics.text().unwrap();
    assert_eq!(dropped(&page).as_deref(), Some("22"));
    check_page(&page);
}
