//! How long ago, in Docker's words.

/// `5 seconds`, `About a minute`, `3 weeks`.
pub(crate) fn human(seconds: u64) -> String {
    let minutes = seconds / 60;
    // Rounded, as Docker does.
    let hours = (seconds + 1_800) / 3_600;
    match (seconds, minutes, hours) {
        (0, _, _) => "Less than a second".to_owned(),
        (1, _, _) => "1 second".to_owned(),
        (2..60, _, _) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, 2..48) => format!("{hours} hours"),
        (_, _, 48..336) => format!("{} days", hours / 24),
        (_, _, 336..1_440) => format!("{} weeks", hours / 24 / 7),
        (_, _, 1_440..17_520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// Seconds between a time of the API and now; `None` if it was never set.
pub(crate) fn seconds_since(time: &str, now_unix_nanos: u64) -> Option<u64> {
    let at = api::wire::time::parse(time)?;
    Some(now_unix_nanos.saturating_sub(at) / 1_000_000_000)
}

/// The clock, in nanoseconds since 1970.
pub(crate) fn now_unix_nanos() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_in_dockers_words() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (3_599, "59 minutes"),
            (3_600, "About an hour"),
            (7_200, "2 hours"),
            (172_800, "2 days"),
            (1_209_600, "2 weeks"),
            (5_184_000, "2 months"),
            (63_072_000, "2 years"),
        ] {
            assert_eq!(human(seconds), text);
        }
    }
}
