//! Spans of time: `90s`, `15m`, `1h`, `7d`.

use std::time::Duration;

const UNITS: &[(&str, f64)] =
    &[("ms", 0.001), ("s", 1.0), ("min", 60.0), ("m", 60.0), ("h", 3_600.0), ("d", 86_400.0), ("w", 604_800.0)];

/// A number and a unit.
pub fn age(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a span of time such as `30s`, `15m`, `1h` or `7d`");
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wrong)?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())
}

/// The same, or `0`.
pub fn age_or_zero(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { age(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_needs_a_unit() {
        assert_eq!(age("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(age("1.5h"), Ok(Duration::from_secs(5_400)));
        assert_eq!(age("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["", "5", "h", "-1h", "1 fortnight", "1e9d"] {
            assert!(age(bad).is_err(), "`{bad}`");
        }
    }
}
