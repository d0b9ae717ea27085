//! How a key chooses its partition. Every SDK must agree to the bit; the test vectors below are the contract.

use xxhash_rust::xxh64::xxh64;

/// The partition of a key: `xxh64(key bytes, seed 0) mod partitions`. An empty key is a key. `partitions` must not be 0.
pub fn partition_of_key(key: &[u8], partitions: u32) -> u32 {
    (xxh64(key, 0) % u64::from(partitions)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (key, xxh64 with seed 0, partition of 8, partition of 1000). Computed with an independent implementation.
    const VECTORS: [(&str, u64, u32, u32); 5] = [
        ("", 0xEF46_DB37_51D8_E999, 1, 921),
        ("a", 0xD24E_C4F1_A98C_6E5B, 3, 955),
        ("us", 0xCE26_A9FB_8223_4CF6, 6, 726),
        ("order-42", 0xB562_3EC0_A2FA_4FCE, 6, 70),
        ("schlüssel", 0x9E8F_9D29_817E_144F, 7, 263),
    ];

    #[test]
    fn keys_go_where_every_sdk_sends_them() {
        for (key, hash, of_8, of_1000) in VECTORS {
            assert_eq!(xxh64(key.as_bytes(), 0), hash, "hash of `{key}`");
            assert_eq!(partition_of_key(key.as_bytes(), 8), of_8, "`{key}` of 8");
            assert_eq!(partition_of_key(key.as_bytes(), 1000), of_1000, "`{key}` of 1000");
        }
    }
}
