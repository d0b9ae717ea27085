//! Membership, leases, assignment, fencing.
//!
//! Who is authoritative: the database. A partition of a group has one row, which says who holds it and under which epoch; every
//! change of it is one server-side call under the group's lock. Brokers watch (by hints and by polling a version), tell their
//! sessions what changed, and compute assignments in pure code, applied by compare-and-set on the group's generation.
//!
//! What a paused broker may still do: nothing that counts. Its members hang off its lease ([`lease`]); when the lease runs out,
//! another broker frees their partitions under higher epochs, and the paused one's commits are refused. It stops delivering by
//! itself one second before that, on a clock that counts suspension.
//!
//! **Invariants:** at no instant two holders in one epoch; an epoch never goes back; a fenced commit changes nothing.

pub mod coordinator;
pub mod lease;

pub use coordinator::Groups;
pub use lease::Trust;
