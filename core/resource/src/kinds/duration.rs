//! Go's durations, as Calico's documents have them (`15m0s`, `1h30m`, `1.5s`).

use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// Reads a Go duration that is not negative.
///
/// # Errors
/// Go's words.
pub fn parse_go_duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("time: invalid duration \"{text}\"");
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        if !rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return Err(invalid());
        }
        let number_end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(|| format!("time: missing unit in duration \"{text}\""))?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let scale: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => {
                return Err(format!(
                    "time: unknown unit \"{unit}\" in duration \"{text}\""
                ));
            }
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.len() > 18 || fraction.contains('.') {
            return Err(invalid());
        }
        let digits = |s: &str| match s {
            "" => Ok(0),
            _ => s.parse::<u128>().map_err(|_| invalid()),
        };
        let part = digits(whole)?.checked_mul(scale).ok_or_else(invalid)?
            + digits(fraction)? * scale / 10u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
        nanos = nanos.checked_add(part).ok_or_else(invalid)?;
        rest = next;
    }
    match u64::try_from(nanos) {
        Ok(nanos) if i64::try_from(nanos).is_ok() => Ok(Duration::from_nanos(nanos)),
        _ => Err(invalid()),
    }
}

/// Writes a duration as Go does: `0s`, `1.5s`, `2m0s`, `1h0m0s`, `300ms`.
pub fn format_go_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let fraction = |value: u128, scale: u128, unit: &str| {
        let (whole, rest) = (value / scale, value % scale);
        if rest == 0 {
            return format!("{whole}{unit}");
        }
        let width = scale.ilog10() as usize;
        let digits = format!("{rest:0width$}");
        format!("{whole}.{}{unit}", digits.trim_end_matches('0'))
    };
    match nanos {
        0 => "0s".to_string(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => fraction(nanos, 1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(nanos, 1_000_000, "ms"),
        _ => {
            let mut text = String::new();
            let (hours, minutes) = (duration.as_secs() / 3600, duration.as_secs() / 60);
            // Writing to a string does not fail.
            if hours > 0 {
                let _ = write!(text, "{hours}h");
            }
            if minutes > 0 {
                let _ = write!(text, "{}m", minutes % 60);
            }
            text + &fraction(nanos % 60_000_000_000, 1_000_000_000, "s")
        }
    }
}

/// Reads a duration's text into Go's normal form.
///
/// # Errors
/// Text that is no duration.
pub(crate) fn go_duration<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    let Some(text) = Option::<String>::deserialize(d)? else {
        return Ok(None);
    };
    parse_go_duration(&text)
        .map(|d| Some(format_go_duration(d)))
        .map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let got = parse_go_duration(text).map(format_go_duration);
            assert_eq!(got.as_deref().map_err(String::as_str), expected);
        };
        check("0", Ok("0s"));
        check("120s", Ok("2m0s"));
        check("15m", Ok("15m0s"));
        check("1h", Ok("1h0m0s"));
        check("1h30m5.25s", Ok("1h30m5.25s"));
        check("1.5s", Ok("1.5s"));
        check("0.5m", Ok("30s"));
        check(".5s", Ok("500ms"));
        check("1500us", Ok("1.5ms"));
        check("15ns", Ok("15ns"));
        check("", Err("time: invalid duration \"\""));
        check("abc", Err("time: invalid duration \"abc\""));
        check("12", Err("time: missing unit in duration \"12\""));
        check("12x", Err("time: unknown unit \"x\" in duration \"12x\""));
        check("9999999h", Err("time: invalid duration \"9999999h\""));
    }
}
