//! What people type, as values: ages, times, positions, pairs.

mod age;
mod pair;
mod place;
mod position;
mod time;

pub use age::{age, age_or_zero};
pub use pair::pair;
pub use place::Place;
pub use position::From;
pub use time::time;
