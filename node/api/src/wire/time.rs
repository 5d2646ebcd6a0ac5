//! Times as Go writes them: RFC 3339 in UTC, up to nine digits, no trailing zeros.

use jiff::Timestamp;

/// What Go writes for a time that was never set.
pub const ZERO: &str = "0001-01-01T00:00:00Z";

/// Text of a moment in nanoseconds since 1970; 0 is a time that was never set.
#[must_use]
pub fn format(unix_nanos: u64) -> String {
    if unix_nanos == 0 {
        return ZERO.to_owned();
    }
    Timestamp::from_nanosecond(i128::from(unix_nanos))
        .map_or_else(|_| ZERO.to_owned(), |at| at.to_string())
}

/// Nanoseconds since 1970; `None` for what is no time, is not set or lies before 1970.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let at: Timestamp = text.parse().ok()?;
    u64::try_from(at.as_nanosecond()).ok()
}

/// Text with all nine digits, as log lines show it.
#[must_use]
pub fn format_fixed(unix_nanos: u64) -> String {
    Timestamp::from_nanosecond(i128::from(unix_nanos))
        .map_or_else(|_| ZERO.to_owned(), |at| format!("{at:.9}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_look_as_go_writes_them() {
        for text in ["2026-11-23T07:26:03.61796382Z", "2026-11-23T07:26:03Z"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        assert_eq!(format(0), ZERO);
        assert_eq!(parse(ZERO), None);
        let short = parse("2026-11-23T07:27:14.8Z").unwrap();
        assert_eq!(format_fixed(short), "2026-11-23T07:27:14.800000000Z");
    }
}
