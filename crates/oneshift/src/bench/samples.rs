//! Times of the same thing, measured many times.

use std::time::Duration;

/// Times, sorted.
#[derive(Clone, Debug)]
pub(super) struct Samples(Vec<Duration>);

impl Samples {
    /// Of these times, at least one.
    pub(super) fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// Half of the times are no longer than this; in milliseconds.
    pub(super) fn median(&self) -> f64 {
        self.at(50)
    }

    /// 99 of 100 times are no longer than this; in milliseconds.
    pub(super) fn p99(&self) -> f64 {
        self.at(99)
    }

    /// The nearest-rank percentile.
    fn at(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    }
}

/// The median of a figure that was measured in several rounds.
pub(super) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures.get((figures.len().max(1) - 1) / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let samples = Samples::new((1..=200).rev().map(Duration::from_millis).collect());
        assert!((samples.median() - 100.0).abs() < 1e-9);
        assert!((samples.p99() - 198.0).abs() < 1e-9);
        assert!((Samples::new(vec![Duration::from_millis(7)]).p99() - 7.0).abs() < 1e-9);
    }

    #[test]
    fn the_median_is_one_of_the_figures() {
        for (figures, expected) in [(vec![3.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0], 1.0)] {
            assert!((median(figures) - expected).abs() < 1e-9);
        }
    }
}
