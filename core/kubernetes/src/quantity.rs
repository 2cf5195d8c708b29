//! Quantities as Kubernetes writes them: `1500`, `100M`, `1.5Ki`, `2e6`.

/// The number, rounded up to a whole one; `None` for what is no quantity, or has more digits than fit.
pub(crate) fn parse(text: &str) -> Option<i128> {
    let end = text.find(|c: char| c.is_ascii_alphabetic());
    let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
    let (negative, digits) = match number.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: i128 = digits.parse().ok()?;
    let value = if negative { -value } else { value };
    let (multiply, divide) = scale(suffix)?;
    let divide = power(10, u32::try_from(fraction.len()).ok()?)?.checked_mul(divide)?;
    let value = value.checked_mul(multiply)?;
    let up = i128::from(value.rem_euclid(divide) != 0);
    Some(value.div_euclid(divide) + up)
}

/// What a suffix multiplies by and divides by.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    if let Some(i) = BINARY.iter().position(|s| *s == suffix) {
        return Some((power(1024, u32::try_from(i).ok()? + 1)?, 1));
    }
    let exponent = match DECIMAL.iter().position(|s| *s == suffix) {
        Some(i) => (i32::try_from(i).ok()? - 3) * 3,
        None => suffix.strip_prefix(['e', 'E'])?.parse().ok()?,
    };
    let power = power(10, exponent.unsigned_abs())?;
    Some(if exponent < 0 { (1, power) } else { (power, 1) })
}

fn power(base: i128, exponent: u32) -> Option<i128> {
    base.checked_pow(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms() {
        for (text, number) in [
            ("1500", 1500),
            ("100M", 100_000_000),
            ("1k", 1_000),
            ("4Gi", 1 << 32),
            ("1.5Ki", 1536),
            ("1.01k", 1010),
            ("2e6", 2_000_000),
            ("2E3", 2_000),
            ("25e-1", 3),
            ("1E", 1_000_000_000_000_000_000),
            ("100m", 1),
            ("+5", 5),
            ("-1500m", -1),
            (".5k", 500),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Some(number), "{text}");
        }
        for text in [
            "", "k", ".", "1.2.3", "1kb", "1 k", "10K", "1e", "1e99", "--1", "\u{665}",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
