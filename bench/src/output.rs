//! What the bench prints: figures to standard output, progress to standard error.

/// A line or a table of figures.
#[expect(clippy::print_stdout, reason = "the one place that prints figures")]
pub fn show(text: &str) {
    println!("{text}");
}

/// What is going on, and what went wrong.
#[expect(clippy::print_stderr, reason = "the one place that prints progress")]
pub fn note(text: &str) {
    eprintln!("{text}");
}

/// `1,234,567`, or `0.345` for what is small.
pub fn number(value: f64) -> String {
    if value.abs() >= 1_000.0 {
        grouped(value.round() as i64)
    } else if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// `1,234,567`.
pub fn whole(value: u64) -> String {
    grouped(i64::try_from(value).unwrap_or(i64::MAX))
}

fn grouped(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_have_about_three_digits_or_groups_of_them() {
        assert_eq!(number(1_234_567.8), "1,234,568");
        assert_eq!(number(-1_000.0), "-1,000");
        assert_eq!(number(999.4), "999");
        assert_eq!(number(12.34), "12.3");
        assert_eq!(number(0.345_6), "0.35");
    }
}
