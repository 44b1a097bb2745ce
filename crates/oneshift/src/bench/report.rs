//! What was measured, as a table or as JSON.

use serde::Serialize;

use super::Effort;
use super::samples::Samples;
use crate::supervisor::Machine;
use crate::view::{Line, Tone};

/// Everything that was measured, and where.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: String,
    build: &'static str,
    effort: String,
    pub(crate) rows: Vec<Row>,
}

/// One figure.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    what: String,
    unit: &'static str,
    /// The median, where there are several.
    measured: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<Baseline>,
    /// Measured over baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bar: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<bool>,
}

/// The empty thing next to the real one.
#[derive(Debug, Serialize)]
struct Baseline {
    what: &'static str,
    measured: f64,
}

impl Row {
    /// A figure that stands alone.
    pub(super) fn new(what: impl Into<String>, unit: &'static str, measured: f64) -> Self {
        let what = what.into();
        Self { what, unit, measured, p99: None, baseline: None, ratio: None, bar: None, met: None }
    }

    /// Times.
    pub(super) fn times(what: impl Into<String>, samples: &Samples) -> Self {
        Self { p99: Some(samples.p99()), ..Self::new(what, "ms", samples.median()) }
    }

    /// Next to an empty baseline.
    pub(super) fn over(mut self, what: &'static str, measured: f64) -> Self {
        self.ratio = (measured > 0.0).then_some(self.measured / measured);
        self.baseline = Some(Baseline { what, measured });
        self
    }

    /// With what the design asks for, and whether it is met.
    pub(super) fn bar(mut self, bar: &'static str, met: impl FnOnce(&Self) -> bool) -> Self {
        self.met = Some(met(&self));
        self.bar = Some(bar);
        self
    }

    /// The figure.
    pub(super) fn value(&self) -> f64 {
        self.measured
    }

    /// The 99th percentile; the figure itself if there is only one.
    pub(super) fn p99(&self) -> f64 {
        self.p99.unwrap_or(self.measured)
    }

    /// Measured over baseline.
    pub(super) fn ratio(&self) -> f64 {
        self.ratio.unwrap_or(f64::NAN)
    }

    fn cells(&self) -> [String; 6] {
        let dash = || "-".to_owned();
        let baseline = |it: &Baseline| format!("{} {}", number(it.measured), it.what);
        [
            self.what.clone(),
            format!("{} {}", number(self.measured), self.unit),
            self.p99.map_or_else(dash, |p99| format!("{} {}", number(p99), self.unit)),
            self.baseline.as_ref().map_or_else(dash, baseline),
            self.ratio.map_or_else(dash, |ratio| format!("{} x", number(ratio))),
            match (self.bar, self.met) {
                (Some(bar), Some(true)) => format!("{bar}: met"),
                (Some(bar), _) => format!("{bar}: MISSED"),
                (None, _) => dash(),
            },
        ]
    }

    fn tone(&self) -> Tone {
        match self.met {
            Some(true) => Tone::Good,
            Some(false) => Tone::Bad,
            None => Tone::Plain,
        }
    }
}

impl Report {
    pub(super) fn new(effort: Effort) -> Self {
        let Machine { cpus, memory_bytes } = Machine::this();
        let system = rustix::system::uname();
        let machine = format!(
            "{cpus} CPUs, {} MiB, {} {} {}",
            memory_bytes >> 20,
            system.sysname().to_string_lossy(),
            system.release().to_string_lossy(),
            system.machine().to_string_lossy(),
        );
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        let Effort { jobs, rounds, .. } = effort;
        let effort = format!("{jobs} jobs for latencies, {rounds} rounds of the rest");
        Self { machine, build, effort, rows: Vec::new() }
    }

    /// The table and what to know about it.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let mut lines = vec![
            Line::new(Tone::Plain, format!("machine: {}", self.machine)),
            Line::new(Tone::Plain, format!("build:   {}", self.build)),
            Line::new(Tone::Plain, format!("effort:  {}", self.effort)),
            Line::new(Tone::Plain, ""),
        ];
        if self.build == "debug" {
            let text = "this is a debug build: compare nothing with it; use cargo build --release";
            lines.insert(3, Line::new(Tone::Warning, text));
        }
        lines.extend(table(&self.rows));
        lines
    }
}

fn table(rows: &[Row]) -> Vec<Line> {
    let heading = ["", "median", "p99", "baseline", "ratio", "bar"].map(str::to_owned);
    let mut cells = vec![(heading, Tone::Heading)];
    cells.extend(rows.iter().map(|row| (row.cells(), row.tone())));
    let width = |column: usize| {
        cells.iter().map(|(row, _)| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let line = |(row, tone): &([String; 6], Tone)| {
        let padded = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        Line::new(*tone, padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    cells.iter().map(line).collect()
}

/// Three significant digits, and thousands apart.
fn number(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        100.0..10_000.0 => format!("{value:.0}"),
        _ => {
            let digits = format!("{value:.0}");
            let groups = digits.as_bytes().rchunks(3).rev();
            groups.map(String::from_utf8_lossy).collect::<Vec<_>>().join(",")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_met_or_named_as_missed() {
        let row = |limit: f64| {
            Row::new("x", "ms", 6.0).over("empty", 2.0).bar("<= limit", |row| row.value() <= limit)
        };
        let texts: Vec<String> =
            table(&[row(10.0), row(5.0)]).into_iter().map(|line| line.text).collect();
        let expected = [
            "   median   p99  baseline    ratio   bar",
            "x  6.00 ms  -    2.00 empty  3.00 x  <= limit: met",
            "x  6.00 ms  -    2.00 empty  3.00 x  <= limit: MISSED",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn numbers_keep_what_matters() {
        for (value, expected) in
            [(0.5, "0.50"), (12.34, "12.3"), (999.6, "1000"), (1_234_567.0, "1,234,567")]
        {
            assert_eq!(number(value), expected);
        }
    }
}
