//! Who may do what: the whole matrix, streams of keys that were revoked, scopes with patterns.

mod audit;
mod dynamic;
mod keys;
mod matrix;
mod patterns;
mod registration;
mod resets;
mod revocation;
mod sessions;
mod tokens;
mod users;
