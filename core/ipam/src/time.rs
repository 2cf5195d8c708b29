//! Unix nanoseconds in the two forms that IPAM stores.

use jiff::Timestamp;
use jiff::tz::Offset;

fn timestamp(now: u64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(now))
        .expect("64 bits of nanoseconds end in the year 2554")
}

/// RFC 3339 in whole seconds, UTC: `2026-11-22T22:25:48Z` (`affinity_claim_time`, `creationTimestamp`).
pub fn rfc3339(now: u64) -> String {
    timestamp(now / 1_000_000_000 * 1_000_000_000).to_string()
}

/// Unix nanoseconds of an RFC 3339 text; `None` when it is not one, or lies before 1970.
pub fn from_rfc3339(text: &str) -> Option<u64> {
    u64::try_from(text.parse::<Timestamp>().ok()?.as_nanosecond()).ok()
}

/// As Go prints a time: `2026-11-22 22:25:47.988257369 +0000 UTC`, the fraction without trailing zeros (the `timestamp`
/// attribute of an allocation).
pub fn go_string(now: u64) -> String {
    let civil = Offset::UTC.to_datetime(timestamp(now));
    let (date, time) = (civil.date(), civil.time());
    let mut fraction = format!(".{:09}", time.subsec_nanosecond());
    fraction.truncate(fraction.trim_end_matches('0').trim_end_matches('.').len());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    format!("{date} {hour:02}:{minute:02}:{second:02}{fraction} +0000 UTC")
}

/// Unix nanoseconds of what [`go_string`] and Go write; `None` when it is something else, or not in UTC.
pub fn from_go_string(text: &str) -> Option<u64> {
    let mut words = text.split(' ');
    let (date, time, offset) = (words.next()?, words.next()?, words.next()?);
    if offset != "+0000" {
        return None;
    }
    from_rfc3339(&format!("{date}T{time}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        let now = 1_795_386_347_988_257_369;
        assert_eq!(go_string(now), "2026-11-22 22:25:47.988257369 +0000 UTC");
        assert_eq!(
            go_string(1_795_386_347_500_000_000),
            "2026-11-22 22:25:47.5 +0000 UTC"
        );
        assert_eq!(
            go_string(1_795_386_347_000_000_000),
            "2026-11-22 22:25:47 +0000 UTC"
        );
        assert_eq!(rfc3339(1_795_386_348_000_222_491), "2026-11-22T22:25:48Z");
        assert_eq!(
            from_rfc3339("2026-11-22T22:25:48Z"),
            Some(1_795_386_348_000_000_000)
        );
        assert_eq!(from_rfc3339("yesterday"), None);
        assert_eq!(from_go_string(&go_string(now)), Some(now));
        assert_eq!(
            from_go_string("2026-11-22 22:25:47 +0000 UTC m=+0.1"),
            Some(1_795_386_347_000_000_000)
        );
        assert_eq!(from_go_string("2026-11-22 22:25:47 +0100 CET"), None);
        assert_eq!(from_go_string("yesterday"), None);
    }
}
