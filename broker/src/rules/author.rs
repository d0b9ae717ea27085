//! Who sets up a rule, and what the rule may do therefore: no more than they could do themselves.

use crate::domain::Result;
use crate::domain::ids::StreamName;
use crate::domain::rule::Action;
use crate::identity::{Caller, Granted, ManageStreams, Publish, Read, authorize};

/// Somebody who may manage streams. What a rule needs beside that is asked when it is known.
pub struct Author {
    pub(super) manage: Granted<ManageStreams>,
    caller: Caller,
}

impl Author {
    /// Refuses whoever may not manage streams.
    pub fn new(caller: &Caller) -> Result<Self> {
        Ok(Self { manage: authorize(caller, ManageStreams)?, caller: caller.clone() })
    }

    /// Whether they may set up a rule with this action in a stream. A copy is a read of the one stream and a publish to the other.
    pub(super) fn check(&self, stream: &StreamName, action: &Action) -> Result<()> {
        self.manage.check(stream)?;
        if let Some(target) = action.target() {
            authorize(&self.caller, Read)?.check(stream)?;
            authorize(&self.caller, Publish)?.check(target)?;
        }
        Ok(())
    }
}
