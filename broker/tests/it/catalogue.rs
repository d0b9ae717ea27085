//! Administration over a real Postgres: streams, groups, request ids, pages, tenancy. The services are called as gRPC calls
//! them, with a caller in the request's extensions.

mod fixture;
mod groups;
mod requests;
mod seeks;
mod streams;
mod tenancy;
