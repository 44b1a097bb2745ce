//! The benchmark itself: it runs to its end and says what it is asked for.

use std::process::Command;

use end_to_end::binaries;
use serde_json::Value;

#[test]
fn a_quick_benchmark_measures_all_that_has_a_bar_and_every_job_completes() {
    let output = Command::new(binaries().join("oneshift"))
        .args(["bench", "--quick", "--json"])
        // Settings of somebody's own gateway have no business here.
        .env("ONESHIFT_TOKENS_FILE", "/nowhere")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let row = |what: &str| {
        let mut found = rows.iter().filter(|row| row["what"] == what);
        let row = found.next().unwrap_or_else(|| panic!("{what:?} is not in {report:#}"));
        assert!(row["measured"].as_f64().is_some_and(f64::is_finite), "{row}");
        row
    };
    for what in [
        "POST to started, idle worker",
        "exit to the next one leased",
        "jobs end to end",
        "none queued",
        "list 10 by a label all have",
        "gateway killed: start to serving",
        "POST to started",
        "end to next start",
        "agent's line to all of them",
        "POST to completed",
    ] {
        row(what);
    }
    // How fast anything is depends on the machine; these do not.
    for what in
        ["jobs completed", "kept of it, besides its outcome", "memory of the gateway, at most"]
    {
        assert_eq!(row(what)["met"], true, "{report:#}");
    }
}
