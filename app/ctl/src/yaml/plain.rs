//! What a plain scalar means in YAML 1.1, as go-yaml v2 resolves it.

use serde_json::{Number, Value};

const TRUE: &[&str] = &[
    "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON",
];
const FALSE: &[&str] = &[
    "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF",
];
const NULL: &[&str] = &["", "~", "null", "Null", "NULL"];

/// The value of a plain scalar; strings that look like times stay strings.
pub fn resolve(text: &str) -> Value {
    if NULL.contains(&text) {
        return Value::Null;
    }
    if TRUE.contains(&text) {
        return Value::Bool(true);
    }
    if FALSE.contains(&text) {
        return Value::Bool(false);
    }
    match number(text) {
        Some(number) => Value::Number(number),
        None => Value::String(text.to_string()),
    }
}

/// Whether a string must be quoted, because plain it would mean something else.
pub fn needs_quotes(text: &str) -> bool {
    !resolve(text).is_string()
        || text == "<<"
        || is_not_finite(text)
        || is_timestamp(text)
        || is_base60(text)
}

fn number(text: &str) -> Option<Number> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        return None;
    }
    let digits = text.replace('_', "");
    integer(&digits).or_else(|| {
        if !is_float(&digits) {
            return None;
        }
        Number::from_f64(digits.parse().ok()?)
    })
}

/// Go's `ParseInt` with base 0: `0x`, `0o`, `0b`, and a leading zero for octal.
fn integer(text: &str) -> Option<Number> {
    let (negative, magnitude) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = magnitude.to_ascii_lowercase();
    let (radix, digits) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        0i64.checked_sub_unsigned(magnitude).map(Number::from)
    } else {
        Some(Number::from(magnitude))
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    let some_digits = |t: &str| !t.is_empty() && digits(t);
    let mantissa_fits = match mantissa.split_once('.') {
        Some(("", fraction)) => some_digits(fraction),
        Some((whole, fraction)) => some_digits(whole) && digits(fraction),
        None => some_digits(mantissa),
    };
    mantissa_fits && exponent.is_none_or(|e| some_digits(e.strip_prefix(['-', '+']).unwrap_or(e)))
}

fn is_not_finite(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    [".inf", ".Inf", ".INF"].contains(&unsigned) || [".nan", ".NaN", ".NAN"].contains(&text)
}

/// A date, or a date and a time.
fn is_timestamp(text: &str) -> bool {
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let number = |t: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit())
    };
    let mut parts = date.split('-');
    let date_fits = parts.next().is_some_and(|year| number(year, 4..=4))
        && parts.next().is_some_and(|month| number(month, 1..=2))
        && parts.next().is_some_and(|day| number(day, 1..=2))
        && parts.next().is_none();
    date_fits
        && time.is_none_or(|time| {
            time.starts_with(|c: char| c.is_ascii_digit())
                && time.contains(':')
                && time
                    .bytes()
                    .all(|b| b.is_ascii_digit() || b":.Z+-".contains(&b))
        })
}

/// `[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?`: YAML 1.1's base 60.
fn is_base60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mut parts = unsigned.split(':');
    let first = parts.next().unwrap_or_default();
    if !first.starts_with(|c: char| c.is_ascii_digit())
        || !first.bytes().all(|b| b.is_ascii_digit() || b == b'_')
    {
        return false;
    }
    let mut rest: Vec<&str> = parts.collect();
    let Some(last) = rest.last_mut() else {
        return false;
    };
    if let Some((whole, fraction)) = last.split_once('.') {
        if !fraction.bytes().all(|b| b.is_ascii_digit() || b == b'_') {
            return false;
        }
        *last = whole;
    }
    rest.iter().all(|part| match part.as_bytes() {
        [one] => one.is_ascii_digit(),
        [ten, one] => (b'0'..=b'5').contains(ten) && one.is_ascii_digit(),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_scalars_mean_what_yaml_1_1_says() {
        for (text, expected) in [
            ("y", json!(true)),
            ("No", json!(false)),
            ("ON", json!(true)),
            ("~", json!(null)),
            ("", json!(null)),
            ("64512", json!(64512)),
            ("-5", json!(-5)),
            ("0777", json!(511)),
            ("0x1f", json!(31)),
            ("1_000", json!(1000)),
            ("10.5", json!(10.5)),
            ("1e3", json!(1000.0)),
            ("99999999999999999999", json!(1e20)),
            ("10.0.0.1", json!("10.0.0.1")),
            ("10.0.0.1/24", json!("10.0.0.1/24")),
            ("08", json!(8.0)),
            ("yEs", json!("yEs")),
            ("2026-11-22", json!("2026-11-22")),
            ("--5", json!("--5")),
            ("-", json!("-")),
        ] {
            assert_eq!(resolve(text), expected, "{text}");
        }
    }

    #[test]
    fn only_strings_that_would_change_need_quotes() {
        for text in [
            "true",
            "y",
            "60",
            "",
            "null",
            "2026-11-22T22:23:05Z",
            "1:30",
            ".inf",
            "010",
            "<<",
        ] {
            assert!(needs_quotes(text), "{text}");
        }
        for text in [
            "default",
            "10.0.0.1/24",
            "fd00:1::4/64",
            "8000:8010",
            "64512:100",
            "244.0.0.1",
            "ca:fe:1d:52:bb:e9",
        ] {
            assert!(!needs_quotes(text), "{text}");
        }
    }
}
