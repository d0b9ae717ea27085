//! What the parts can do alone, in the same run.

pub mod append;
pub mod transport;
