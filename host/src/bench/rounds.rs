//! What several rounds say: medians, and ratios of what was measured at about the same time.

/// The middle one; of an even number, the mean of the two in the middle. 0 of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        count if count % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

/// The median of each round's ratio. What changes from round to round, such as what else the
/// machine does, is then in neither.
pub fn ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    let rounds = ours.iter().zip(theirs).filter(|(_, theirs)| **theirs > 0.0);
    median(rounds.map(|(ours, theirs)| ours / theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(value: f64, wanted: f64) -> bool {
        (value - wanted).abs() < 1e-9
    }

    #[test]
    fn the_median_does_not_care_for_order_or_for_outliers() {
        assert!(is(median([3.0, 1.0, 1000.0]), 3.0));
        assert!(is(median([4.0, 1.0, 3.0, 2.0]), 2.5));
        assert!(is(median([7.0]), 7.0));
        assert!(is(median([]), 0.0));
    }

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        // The machine was half as fast in the second round, for both.
        assert!(is(ratio(&[200.0, 100.0, 200.0], &[100.0, 50.0, 100.0]), 2.0));
        // The ratio of the medians would be 3.
        assert!(is(ratio(&[10.0, 30.0, 60.0], &[10.0, 10.0, 30.0]), 2.0));
        // What was not measured has no ratio.
        assert!(is(ratio(&[1.0, 4.0], &[0.0, 2.0]), 2.0));
    }
}
