//! What a password must be. Length and the obvious ones, nothing else: rules of composition make worse passwords.

use super::{Applied, Error, Result};

const CHARACTERS_MIN: usize = 8;
const CHARACTERS_MAX: usize = 128;
/// What everybody tries first, lower-case, one a line; shorter ones are refused anyway.
const COMMON: &str = include_str!("common_passwords.txt");

/// Checks the password in `field` of the user with this address. It never shows in an error.
pub fn check_password(field: &str, password: &str, email: Option<&str>) -> Result<()> {
    let refused = |why: String| Err(Error::invalid(field, why).applied(Applied::No));
    let characters = password.chars().count();
    if !(CHARACTERS_MIN..=CHARACTERS_MAX).contains(&characters) {
        return refused(format!("must be {CHARACTERS_MIN} to {CHARACTERS_MAX} characters, it has {characters}"));
    }
    let lower = password.to_lowercase();
    let simple = lower.trim_end_matches(|last: char| last.is_ascii_digit() || last == '!');
    let common = |text: &str| COMMON.lines().any(|common| common == text);
    if common(&lower) || common(simple) || email.is_some_and(|email| email.eq_ignore_ascii_case(password)) {
        return refused("is one of those that everybody tries first; choose another one".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_to_128_characters_of_any_kind_will_do() {
        let long = "x".repeat(128);
        for good in ["gxzpqrtv", "pässwörtchen", "四月は君の嘘です", "        ", &long, "zwölf ühr \u{1f980}"]
        {
            check_password("password", good, None).unwrap_or_else(|error| panic!("{good:?}: {error:?}"));
        }
        let longer = "ü".repeat(129);
        for bad in ["", "gxzpqrt", "ßßßßßßß", &longer] {
            assert_eq!(check_password("password", bad, None).expect_err(bad).violations()[0].field, "password");
        }
    }

    #[test]
    fn what_everybody_tries_first_is_refused_in_any_case_and_with_a_tail() {
        for bad in ["password", "PassWord", "password1", "Password123!", "12345678", "qwertyuiop", "iloveyou2024"] {
            let error = check_password("secret", bad, None).expect_err(bad);
            assert!(!error.message().contains(bad), "{error:?}");
        }
        assert!(check_password("password", "Ada@Example.com", Some("ada@example.com")).is_err());
    }
}
