//! Rows under headings.

use super::{Line, Tone, text};

/// Narrower terminals get broken lines rather than nothing of the last columns.
const MIN_WIDTH: usize = 60;

/// Aligned columns; lines that are longer than `width` are cut.
pub(crate) fn table<const N: usize>(
    heading: [&str; N],
    rows: Vec<(Tone, [String; N])>,
    width: usize,
) -> Vec<Line> {
    let heading = heading.map(str::to_owned);
    let column = |index: usize| {
        let cells = rows.iter().map(|(_, row)| row).chain([&heading]);
        cells.map(|row| row[index].chars().count()).max().unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(column);
    let line = |tone: Tone, row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let text = cells.collect::<Vec<_>>().join("  ");
        Line::new(tone, text::shortened(text.trim_end(), width.max(MIN_WIDTH)))
    };
    let body = rows.iter().map(|(tone, row)| line(*tone, row));
    std::iter::once(line(Tone::Heading, &heading)).chain(body).collect()
}
