//! Integration tests of the client, in one binary.
