//! The straight line through measurements.

/// How much the line that fits these points best rises from the first to the last of them. Points
/// are times and values, by time; fewer than two rise by nothing.
pub(crate) fn rise(points: &[(f64, f64)]) -> f64 {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return 0.0 };
    let count = u32::try_from(points.len()).map_or(f64::MAX, f64::from);
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (time, value) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - time).powi(2)).sum();
    let slope: f64 = points.iter().map(|point| (point.0 - time) * (point.1 - value)).sum();
    if spread > 0.0 { slope / spread * (last.0 - first.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rises(values: [f64; 5], by: f64) -> bool {
        let points: Vec<_> = (0..5).map(f64::from).zip(values).collect();
        (rise(&points) - by).abs() < 1e-9
    }

    #[test]
    fn a_leak_rises_and_noise_does_not() {
        assert!(rises([1.0, 2.0, 3.0, 4.0, 5.0], 4.0));
        assert!(rises([5.0, 5.0, 5.0, 5.0, 5.0], 0.0));
        assert!(rises([3.0, 5.0, 9.0, 5.0, 3.0], 0.0));
        assert!(rises([4.0, 4.0, 3.0, 2.0, 2.0], -2.4));
        assert_eq!(rise(&[]), 0.0);
        assert_eq!(rise(&[(1.0, 7.0)]), 0.0);
    }
}
