//! What was measured, as a table or as JSON.

use serde::Serialize;

use super::Effort;
use super::row::Row;
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
        Self { machine, build, effort: effort.to_string(), rows: Vec::new() }
    }

    /// The table and what to know about it.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let mut lines = vec![
            Line::new(Tone::Plain, format!("machine: {}", self.machine)),
            Line::new(Tone::Plain, format!("build:   {}", self.build)),
            Line::new(Tone::Plain, format!("effort:  {}", self.effort)),
        ];
        if self.build == "debug" {
            let text = "this is a debug build: compare nothing with it; use cargo build --release";
            lines.push(Line::new(Tone::Warning, text));
        }
        lines.extend(table(&self.rows));
        lines
    }
}

/// The columns after the figure's name, which are aligned right, and the bar, which is not.
const HEADINGS: [&str; 6] = ["", "median", "p99", "baseline", "ratio", "bar"];

fn table(rows: &[Row]) -> Vec<Line> {
    let cells: Vec<_> = rows.iter().map(cells).collect();
    let width = |column: usize| {
        let widths = cells.iter().map(|row| row[column].chars().count());
        widths.chain([HEADINGS[column].len()]).max().unwrap_or_default()
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let line = |row: &[String; 6]| {
        let [what, numbers @ .., bar] = row;
        let numbers =
            numbers.iter().zip(&widths[1..]).map(|(cell, width)| format!("{cell:>width$}"));
        let numbers = numbers.collect::<Vec<_>>().join("  ");
        format!("  {what:<width$}  {numbers}  {bar}", width = widths[0]).trim_end().to_owned()
    };
    let mut lines = Vec::new();
    let mut group = "";
    lines.push(Line::new(Tone::Faint, line(&HEADINGS.map(str::to_owned))));
    for (row, cells) in rows.iter().zip(&cells) {
        if row.group != group {
            group = &row.group;
            lines.push(Line::new(Tone::Heading, heading(rows, group)));
        }
        lines.push(Line::new(tone(row), line(cells)));
    }
    lines
}

/// A group's title, and what the baselines in it are.
fn heading(rows: &[Row], group: &str) -> String {
    let baseline =
        rows.iter().filter(|row| row.group == group).find_map(|row| row.baseline.as_ref());
    match baseline {
        Some(baseline) => format!("{group}, beside {}", baseline.what),
        None => group.to_owned(),
    }
}

fn cells(row: &Row) -> [String; 6] {
    let dash = || "-".to_owned();
    [
        row.what.clone(),
        format!("{} {}", number(row.measured), row.unit),
        row.p99.map_or_else(dash, number),
        row.baseline.as_ref().map_or_else(dash, |baseline| number(baseline.measured)),
        row.ratio.map_or_else(dash, |ratio| format!("{} x", number(ratio))),
        match (row.bar, row.met) {
            (Some(bar), Some(true)) => format!("{bar}: met"),
            (Some(bar), _) => format!("{bar}: MISSED"),
            (None, _) => String::new(),
        },
    ]
}

fn tone(row: &Row) -> Tone {
    match row.met {
        Some(true) => Tone::Good,
        Some(false) => Tone::Bad,
        None => Tone::Plain,
    }
}

/// Three significant digits, and thousands apart; a whole number of many without decimals.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        10.0..100.0 if value.fract() == 0.0 => format!("{value:.0}"),
        0.0..9.995 => format!("{value:.2}"),
        9.995..99.95 => format!("{value:.1}"),
        99.95..999.5 => format!("{value:.0}"),
        999_500.0.. => format!("{} M", number(value / 1e6)),
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
    use crate::bench::row::Group;

    #[test]
    fn a_bar_is_met_or_named_as_missed() {
        let row = |limit: f64| {
            let group = Group::new("things", "an empty one");
            group.row("x", "ms", 6.0).over(2.0).bar("<= limit", |row| row.value() <= limit)
        };
        let alone = Group::new("others", "nothing").row("y", "MB", 1.0);
        let rows = [row(10.0), row(5.0), alone];
        let texts: Vec<String> = table(&rows).into_iter().map(|line| line.text).collect();
        let expected = [
            "      median  p99  baseline   ratio  bar",
            "things, beside an empty one",
            "  x  6.00 ms    -      2.00  3.00 x  <= limit: met",
            "  x  6.00 ms    -      2.00  3.00 x  <= limit: MISSED",
            "others",
            "  y  1.00 MB    -         -       -",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn numbers_keep_what_matters() {
        for (value, expected) in [
            (0.5, "0.50"),
            (9.999, "10.0"),
            (12.34, "12.3"),
            (50.0, "50"),
            (999.6, "1,000"),
            (2_514.0, "2,514"),
            (123_456.7, "123,457"),
            (1_234_567.0, "1.23 M"),
        ] {
            assert_eq!(number(value), expected);
        }
    }
}
