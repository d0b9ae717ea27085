//! Positions: where to start, where to go on.

use crate::domain::position::Position;
use crate::domain::{Error, Result};
use crate::grpc::convert::time::timestamp_us;
use eventflow_proto::v1::{self, position::At};

/// A position, when one is there; `field` is its path.
pub fn position(field: &str, wire: Option<&v1::Position>) -> Result<Option<Position>> {
    let Some(wire) = wire else {
        return Ok(None);
    };
    match &wire.at {
        Some(At::Earliest(true)) => Ok(Some(Position::Earliest)),
        Some(At::Latest(true)) => Ok(Some(Position::Latest)),
        Some(At::Earliest(false)) => Err(Error::invalid(format!("{field}.earliest"), "must be true when it is set")),
        Some(At::Latest(false)) => Err(Error::invalid(format!("{field}.latest"), "must be true when it is set")),
        Some(At::Offset(offset)) => Ok(Some(Position::Offset(*offset))),
        Some(At::Time(time)) => Ok(Some(Position::Time(timestamp_us(&format!("{field}.time"), time)?))),
        None => Err(Error::invalid(field, "must set one of `earliest`, `latest`, `offset`, `time`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_sets_one_of_its_ways() {
        let parse = |at| position("to", Some(&v1::Position { at }));
        assert_eq!(position("to", None).expect("absent"), None);
        assert_eq!(parse(Some(At::Earliest(true))).expect("earliest"), Some(Position::Earliest));
        assert_eq!(parse(Some(At::Offset(0))).expect("offset"), Some(Position::Offset(0)));
        for (at, field) in [
            (None, "to"),
            (Some(At::Earliest(false)), "to.earliest"),
            (Some(At::Latest(false)), "to.latest"),
            (Some(At::Time(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 })), "to.time"),
        ] {
            assert_eq!(parse(at).expect_err(field).violations()[0].field, field);
        }
    }
}
