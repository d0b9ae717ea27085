//! What a browser is told beside every answer that it might show: there is nothing here to show, frame, guess at or remember.

/// On everything that is served over HTTP and is no gRPC call.
pub const WEB_HEADERS: [(&str, &str); 5] = [
    // No script, inline or not, and nothing else either.
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
];

/// Under TLS as well: two years without plaintext.
pub const STRICT_TRANSPORT: (&str, &str) = ("strict-transport-security", "max-age=63072000; includeSubDomains");
