//! Wire types to values and back. What is wrong is named by the path of its field; nothing of the wire goes further.

pub mod alert;
pub mod api_key;
pub mod audit;
pub mod dead_letter;
pub mod delivery;
pub mod event;
pub mod explanation;
pub mod group;
pub mod mask;
pub mod organization;
pub mod outcome;
pub mod poll;
pub mod position;
pub mod publish;
pub mod request_id;
pub mod rule;
pub mod schema;
pub mod stream;
pub mod time;
pub mod trace;
pub mod user;
