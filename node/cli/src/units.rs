//! Durations, sizes and CPUs as Docker writes them.

use std::time::Duration;

/// `1h30m`, `1.5s`, `500ms`, `0`: Go's durations, none below zero.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    nanos(text).map(|nanos| Duration::from_nanos(nanos.unsigned_abs()))
}

/// The same as nanoseconds.
pub(crate) fn nanos(text: &str) -> Result<i64, String> {
    let bad = || format!("{text:?} is no duration: write it as in 90s, 1h30m, 500ms");
    if text == "0" {
        return Ok(0);
    }
    let (mut rest, mut total) = (text, 0_f64);
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let factor = match unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 6e10,
            "h" => 3.6e12,
            _ => return Err(bad()),
        };
        total += number.parse::<f64>().map_err(|_| bad())? * factor;
        rest = tail;
    }
    // Go's durations end at 292 years.
    if total < 9.2e18 { Ok(whole(total)) } else { Err(bad()) }
}

/// `1024`, `64m`, `1.5G`, `64MiB`: in steps of 1,024, as Docker counts memory.
pub(crate) fn bytes(text: &str) -> Result<i64, String> {
    let bad = || format!("{text:?} is no size: write it as in 64m, 1.5g");
    let lower = text.to_ascii_lowercase();
    let end = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(end);
    let power = match unit.trim_start().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(bad()),
    };
    let size = number.parse::<f64>().map_err(|_| bad())? * 1024_f64.powi(power);
    if size < 9.2e18 { Ok(whole(size)) } else { Err(bad()) }
}

/// `0.5` CPUs in billionths.
pub(crate) fn cpus(text: &str) -> Result<i64, String> {
    let bad = || format!("{text:?} is no number of CPUs: write it as in 0.5");
    let cpus = text.parse::<f64>().map_err(|_| bad())?;
    if (0.0..1e9).contains(&cpus) { Ok(whole((cpus * 1e9).round())) } else { Err(bad()) }
}

#[expect(clippy::cast_possible_truncation, reason = "callers keep it below 9.2e18")]
fn whole(number: f64) -> i64 {
    number as i64
}

/// `10s`, `1m30s`, `1.5s`: as Go prints durations.
pub(crate) fn show_nanos(nanos: i64) -> String {
    let total = nanos.unsigned_abs();
    if total == 0 {
        return "0s".to_owned();
    }
    for (below, unit, name) in
        [(1_000, 1, "ns"), (1_000_000, 1_000, "µs"), (1_000_000_000, 1_000_000, "ms")]
    {
        if total < below {
            return format!("{}{name}", fraction(total, unit));
        }
    }
    let seconds = total / 1_000_000_000;
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    let rest = fraction(total % 60_000_000_000, 1_000_000_000);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// `total / unit` without zeros at the end.
fn fraction(total: u64, unit: u64) -> String {
    let whole = total / unit;
    if total.is_multiple_of(unit) {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    let digits = format!("{:0width$}", total % unit);
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

/// `1.5GiB`: in steps of 1,024 with four digits, as Docker shows memory.
pub(crate) fn show_bytes(bytes: i64) -> String {
    scaled(bytes, 1024.0, 4, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"])
}

/// `77.8MB`: in steps of 1,000 with three digits, as Docker shows images.
pub(crate) fn show_size(bytes: i64) -> String {
    scaled(bytes, 1000.0, 3, &["B", "kB", "MB", "GB", "TB", "PB"])
}

#[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
fn scaled(bytes: i64, step: f64, digits: usize, units: &[&str]) -> String {
    let mut size = bytes as f64;
    let mut nth = 0;
    while step <= size && nth + 1 < units.len() {
        size /= step;
        nth += 1;
    }
    let whole = if size < 10.0 {
        1
    } else if size < 100.0 {
        2
    } else if size < 1000.0 {
        3
    } else {
        4
    };
    let text = format!("{size:.*}", digits.saturating_sub(whole));
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", units.get(nth).unwrap_or(&""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, nanos_read) in [
            ("0", Some(0)),
            ("10s", Some(10_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("500ms", Some(500_000_000)),
            ("1m0s", Some(60_000_000_000)),
            ("3us", Some(3_000)),
            ("10", None),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1d", None),
            ("9999999h", None),
        ] {
            assert_eq!(nanos(text).ok(), nanos_read, "{text}");
        }
    }

    #[test]
    fn durations_are_shown_as_go_shows_them() {
        for (nanos, text) in [
            (0, "0s"),
            (1_500, "1.5µs"),
            (500_000_000, "500ms"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "1m0s"),
            (5_400_000_000_000, "1h30m0s"),
        ] {
            assert_eq!(show_nanos(nanos), text);
        }
    }

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, size) in [
            ("1024", Some(1024)),
            ("64m", Some(64 << 20)),
            ("64MB", Some(64 << 20)),
            ("64MiB", Some(64 << 20)),
            ("1.5g", Some(3 << 29)),
            ("1x", None),
            ("m", None),
        ] {
            assert_eq!(bytes(text).ok(), size, "{text}");
        }
        assert_eq!(show_bytes(25_276_502_016), "23.54GiB");
        assert_eq!(show_bytes(64 << 20), "64MiB");
        assert_eq!(show_size(77_800_000), "77.8MB");
        assert_eq!(show_size(1_240_000_000), "1.24GB");
        assert_eq!(show_size(0), "0B");
    }

    #[test]
    fn cpus_are_billionths() {
        assert_eq!(cpus("0.5"), Ok(500_000_000));
        assert_eq!(cpus("0.1"), Ok(100_000_000));
        assert!(cpus("-1").is_err());
        assert!(cpus("NaN").is_err());
    }
}
