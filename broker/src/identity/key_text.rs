//! Base62 and the checksum: the arithmetic of a key's text. Pure.

use rand::{Rng, TryRngCore, rngs::OsRng};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `length` characters of the operating system's randomness, 5.95 bits each.
pub(super) fn random(length: usize) -> String {
    // A machine without randomness cannot make keys: stopping is right.
    let mut source = OsRng.unwrap_err();
    (0..length).map(|_| char::from(ALPHABET[source.random_range(0..ALPHABET.len())])).collect()
}

pub(super) fn is_base62(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Six characters that every typing mistake changes: crc32 of `text`, base62, padded with `0`.
pub(super) fn checksum(text: &str) -> [u8; 6] {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}
