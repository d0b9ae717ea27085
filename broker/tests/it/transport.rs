//! What may come over the wire, against a small server made of the broker's own door, with a log service that misbehaves on
//! request. No database: keys are listed.

mod calls;
mod connections;
mod endings;
mod exhausted;
mod fixture;
mod probes;
pub mod wire;
