//! Times, sums and sizes for people.

use std::time::Duration;

use client::protocol::JobId;
use jiff::Timestamp;

/// How long something took: `12 ms`, `3.4 s`, `2 min 05 s`, `1 h 03 min`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 if time.as_millis() < 1000 => format!("{} ms", time.as_millis()),
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// How long ago something was: `now`, `5 min ago`, `3 d ago`.
pub(crate) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(then.as_second());
    match seconds {
        ..=1 => "now".to_owned(),
        2..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// The time between two moments; zero if they are in the wrong order.
pub(crate) fn between(start: Timestamp, end: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(start)).unwrap_or_default()
}

/// US dollars: with cents, and with more digits below one cent.
pub(crate) fn dollars(sum: f64) -> String {
    if sum > 0.0 && sum < 0.01 { format!("${sum:.4}") } else { format!("${sum:.2}") }
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// The last part of an id, which is random and therefore enough to tell jobs apart.
pub(crate) fn short_id(id: JobId) -> String {
    let text = id.to_string();
    text[text.len() - 12..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well_at_every_size() {
        for (milliseconds, expected) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_234, "1.2 s"),
            (59_940, "59.9 s"),
            (125_000, "2 min 05 s"),
            (3_780_000, "1 h 03 min"),
        ] {
            assert_eq!(duration(Duration::from_millis(milliseconds)), expected);
        }
    }

    #[test]
    fn ages_read_well_even_when_clocks_differ() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        for (then, expected) in [
            ("2026-01-02T00:00:30Z", "now"),
            ("2026-01-01T23:59:30Z", "30 s ago"),
            ("2026-01-01T23:55:00Z", "5 min ago"),
            ("2025-12-31T00:00:00Z", "2 d ago"),
        ] {
            assert_eq!(age(then.parse().unwrap(), now), expected);
        }
    }

    #[test]
    fn small_sums_keep_their_digits() {
        assert_eq!(dollars(0.0), "$0.00");
        assert_eq!(dollars(0.0042), "$0.0042");
        assert_eq!(dollars(1.5), "$1.50");
    }
}
