//! Where to start: `earliest`, `latest`, an age such as `1h`, a time, `offset:N`.

use std::str::FromStr;

use eventflow::Position;

use super::{age, time};
use crate::clock;

/// A position as it was typed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct From(pub Position);

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let position = match text {
            "earliest" | "beginning" => Position::Earliest,
            "latest" | "end" => Position::Latest,
            _ => other(text)?,
        };
        Ok(Self(position))
    }
}

fn other(text: &str) -> Result<Position, String> {
    let wrong = || {
        format!(
            "`{text}` is not a position: `earliest`, `latest`, an age such as `1h`, a time such as \
             `2026-01-31T09:30:00Z`, or `offset:42`"
        )
    };
    if let Some(offset) = text.strip_prefix("offset:") {
        let offset: i64 = offset.parse().map_err(|_| wrong())?;
        return if offset < 0 { Err(wrong()) } else { Ok(Position::Offset(offset)) };
    }
    if let Ok(age) = age(text) {
        return Ok(Position::Time(clock::ago(age)));
    }
    time(text).map(Position::Time).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_position_is_read() {
        let parse = |text: &str| text.parse::<From>().map(|from| from.0);
        assert_eq!(parse("earliest"), Ok(Position::Earliest));
        assert_eq!(parse("latest"), Ok(Position::Latest));
        assert_eq!(parse("offset:42"), Ok(Position::Offset(42)));
        assert!(matches!(parse("1h"), Ok(Position::Time(_))));
        assert!(matches!(parse("2026-01-31"), Ok(Position::Time(_))));
        for bad in ["", "offset:", "offset:-1", "soon"] {
            assert!(parse(bad).is_err(), "`{bad}`");
        }
    }
}
