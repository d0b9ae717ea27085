//! Numbers as people read them.

use std::time::{Duration, SystemTime};

/// `38,094`.
pub fn count(number: impl Into<i128>) -> String {
    let number = number.into();
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    if number < 0 {
        text.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1.4 MiB`.
pub fn bytes(number: i64) -> String {
    let mut value = number as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value.abs() < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{number} B") } else { format!("{value:.1} {unit}") }
}

/// `340 ms`, `1.2 s`, `3 min`, `2.5 h`, `7 d`.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let short = |value: f64, unit: &str| {
        let text = format!("{value:.1}");
        format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
    };
    if duration.is_zero() {
        return "0 s".to_owned();
    }
    match seconds {
        s if s < 0.01 => format!("{:.1} ms", s * 1e3),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 120.0 => short(s, "s"),
        s if s < 7_200.0 => short(s / 60.0, "min"),
        s if s < 172_800.0 => short(s / 3_600.0, "h"),
        s => short(s / 86_400.0, "d"),
    }
}

/// A time in UTC, to the second: `2026-01-31 09:30:00`.
pub fn since(time: SystemTime) -> String {
    match jiff::Timestamp::try_from(time) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(0), "0");
        assert_eq!(count(38_094), "38,094");
        assert_eq!(count(-1_000), "-1,000");
        assert_eq!(bytes(1_023), "1023 B");
        assert_eq!(bytes(1_572_864), "1.5 MiB");
    }

    #[test]
    fn spans_have_the_unit_that_fits() {
        let span_of = |seconds: f64| span(Duration::from_secs_f64(seconds));
        assert_eq!(span_of(0.0019), "1.9 ms");
        assert_eq!(span_of(0.34), "340 ms");
        assert_eq!(span_of(1.23), "1.2 s");
        assert_eq!(span_of(604_800.0), "7 d");
    }
}
