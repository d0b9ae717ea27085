//! The plaintext port.
