//! Numbers as people read them.

/// `value` with `digits` significant digits and commas between thousands; digits before the point
/// are never rounded away.
pub(crate) fn significant(value: f64, digits: i32) -> String {
    if !value.is_finite() {
        return "not finite".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    // Through scientific notation, so that 9.996 counts its digits after rounding.
    let after = digits.max(1) - 1;
    let rounded = format!("{value:.*e}", after as usize);
    let exponent = rounded.split_once('e').and_then(|(_, e)| e.parse::<i32>().ok()).unwrap_or(0);
    fixed(value, (after - exponent).clamp(0, 12))
}

/// `value` with that many decimals and commas between thousands.
pub(crate) fn fixed(value: f64, decimals: i32) -> String {
    if !value.is_finite() {
        return "not finite".to_owned();
    }
    let plain = format!("{value:.*}", decimals.max(0) as usize);
    let (sign, plain) = plain.strip_prefix('-').map_or(("", &plain[..]), |rest| ("\u{2212}", rest));
    let (whole, fraction) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let mut grouped = String::with_capacity(plain.len() + whole.len() / 3 + 1);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{fraction}")
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

/// A share as per cent, not to be broken over lines: one decimal under 10 %, where it says something.
pub(crate) fn percent(share: f64) -> String {
    let tenths = (1000.0 * share).round();
    let decimals = if tenths.abs() >= 100.0 || tenths % 10.0 == 0.0 { 0 } else { 1 };
    format!("{}\u{a0}%", fixed(100.0 * share, decimals))
}

/// A correlation with two decimals, or three where two would round it to a perfect one.
pub(crate) fn correlation(rho: f64) -> String {
    let perfect = rho.abs() == 1.0;
    fixed(rho, if rho.abs() > 0.995 && !perfect { 3 } else { 2 })
}

/// Whole numbers in the order that [`f64::total_cmp`] has.
pub(crate) fn ordinal(value: f64) -> u64 {
    let bits = value.to_bits();
    let sign = 1 << (u64::BITS - 1);
    if bits & sign == 0 { bits | sign } else { !bits }
}

/// Both in one: pairs are ordered by the first, then by the second.
pub(crate) fn paired(first: u64, second: u64) -> u128 {
    (u128::from(first) << u64::BITS) | u128::from(second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pairs_of_ordinals_are_ordered_as_pairs_of_values(a: [f64; 2], b: [f64; 2], same in any::<bool>()) {
            let b = if same { [a[0], b[1]] } else { b };
            let pair = |[first, second]: [f64; 2]| paired(ordinal(first), ordinal(second));
            let order = a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1]));
            prop_assert_eq!(pair(a).cmp(&pair(b)), order);
        }
    }

    #[test]
    fn lists_read_as_sentences_do() {
        let listed = |items: &[&str]| listed(&items.iter().map(|&i| i.to_owned()).collect::<Vec<_>>());
        assert_eq!(listed(&["a"]), "a");
        assert_eq!(listed(&["a", "b"]), "a and b");
        assert_eq!(listed(&["a", "b", "c"]), "a, b and c");
    }

    #[test]
    fn digits_commas_and_signs() {
        let cases = [
            (0.0, "0"),
            (0.114_56, "0.115"),
            (1.0, "1.00"),
            (9.996, "10.0"),
            (99.96, "100"),
            (8731.4, "8,731"),
            (1_234_567.0, "1,234,567"),
            (-0.5, "\u{2212}0.500"),
            (-1234.0, "\u{2212}1,234"),
            (f64::NAN, "not finite"),
            (f64::INFINITY, "not finite"),
        ];
        for (value, text) in cases {
            assert_eq!(significant(value, 3), text);
        }
        let shares = [0.021, 0.0999, 0.05, 0.453, 1.0, 0.0];
        assert_eq!(shares.map(percent), ["2.1", "10", "5", "45", "100", "0"].map(|p| format!("{p}\u{a0}%")));
        assert_eq!([-1.0, -0.998, 0.5].map(correlation), ["\u{2212}1.00", "\u{2212}0.998", "0.50"]);
    }
}
