//! Times: RFC 3339, or a date with an optional time of day, which is then UTC.

use std::time::SystemTime;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// Spellings without an offset, besides ISO 8601.
const PLAIN: &[&str] = &["%Y/%m/%d %H:%M:%S%.f", "%Y/%m/%d %H:%M", "%Y/%m/%d"];

pub fn time(text: &str) -> Result<SystemTime, String> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.into());
    }
    let plain = text.parse::<DateTime>().ok().or_else(|| PLAIN.iter().find_map(|format| parse_plain(format, text)));
    plain
        .and_then(|plain| plain.to_zoned(TimeZone::UTC).ok())
        .map(|zoned| zoned.timestamp().into())
        .ok_or_else(|| format!("`{text}` is not a time such as `2026-01-31T09:30:00Z` or `2026-01-31`"))
}

fn parse_plain(format: &str, text: &str) -> Option<DateTime> {
    if let Ok(time) = DateTime::strptime(format, text) {
        return Some(time);
    }
    let date = jiff::civil::Date::strptime(format, text).ok()?;
    Some(date.at(0, 0, 0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn usual_spellings_are_understood_as_utc() {
        let at = |seconds: f64| SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds);
        assert_eq!(time("1970-01-02T00:00:00Z"), Ok(at(86_400.0)));
        assert_eq!(time("1970-01-01T01:00:00+01:00"), Ok(at(0.0)));
        assert_eq!(time("1970-01-02"), Ok(at(86_400.0)));
        assert_eq!(time("1970-01-01 00:00:04.91"), Ok(at(4.91)));
        assert_eq!(time("1970/01/01 00:00:04.91"), Ok(at(4.91)));
        assert!(time("yesterday").is_err());
    }
}
