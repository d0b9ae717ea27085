//! Who may do what: the whole matrix, streams of keys that were revoked, scopes with patterns.

mod audit;
mod database;
pub mod dynamic;
mod keys;
mod matrix;
mod patterns;
mod registration;
mod resets;
mod revocation;
mod sessions;
mod timing;
mod tokens;
mod users;
