//! Verbs that run a broker, or that look after the database behind it.

pub mod admin;
pub mod database;
pub mod dev;
pub mod doctor;
pub mod migrate;
mod quota;
mod redis;
mod running;
pub mod serve;
pub mod status;
mod status_views;
