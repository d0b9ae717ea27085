//! How the broker opens and closes: tasks with policies, readiness, an ordered end.

pub mod app;
pub mod clock;
pub mod readiness;
pub mod shutdown;
pub mod tasks;

pub use self::{
    readiness::{Condition, Readiness},
    tasks::{Kind, Tasks},
};
