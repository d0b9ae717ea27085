//! What people write onto streams and groups: descriptions and labels.

use crate::domain::{Error, Result, limits};
use std::collections::BTreeMap;

/// Names and values, in order of names.
pub type Labels = BTreeMap<String, String>;

/// Checks labels; an error names the label, such as `stream.labels["team"]`.
pub fn check_labels(field: &str, labels: &Labels) -> Result<()> {
    let max = limits::LABELS_MAX;
    if labels.len() > max {
        return Err(Error::invalid(field, format!("may hold at most {max} labels, it has {}", labels.len())));
    }
    for (name, value) in labels {
        let field = || format!("{field}[{name:?}]");
        let max = limits::LABEL_NAME_BYTES_MAX;
        if name.is_empty() || name.len() > max {
            return Err(Error::invalid(
                field(),
                format!("must have a name of 1 to {max} bytes, it has {}", name.len()),
            ));
        }
        let max = limits::LABEL_VALUE_BYTES_MAX;
        if value.len() > max {
            return Err(Error::invalid(
                field(),
                format!("must have a value of at most {max} bytes, it has {}", value.len()),
            ));
        }
        if name.contains('\0') || value.contains('\0') {
            return Err(Error::invalid(field(), "must not contain NUL"));
        }
    }
    Ok(())
}

/// Checks a description.
pub fn check_description(field: &str, text: &str) -> Result<()> {
    let max = limits::DESCRIPTION_BYTES_MAX;
    if text.len() > max {
        return Err(Error::invalid(field, format!("must be at most {max} bytes long, it has {}", text.len())));
    }
    if text.contains('\0') {
        return Err(Error::invalid(field, "must not contain NUL"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(count: usize, name: &str, value: &str) -> Labels {
        (0..count)
            .map(|number| (if number == 0 { name.to_owned() } else { format!("n{number}") }, value.to_owned()))
            .collect()
    }

    #[test]
    fn labels_are_bounded_and_an_error_names_the_label() {
        assert!(check_labels("stream.labels", &labels(32, &"n".repeat(64), &"v".repeat(256))).is_ok());
        for (bad, path) in [
            (labels(33, "x", ""), "stream.labels"),
            (labels(1, "", "v"), "stream.labels[\"\"]"),
            (labels(1, "x", &"v".repeat(257)), "stream.labels[\"x\"]"),
            (labels(1, "x", "a\0"), "stream.labels[\"x\"]"),
        ] {
            let error = check_labels("stream.labels", &bad).expect_err(path);
            assert_eq!(error.violations()[0].field, path);
        }
        assert!(check_labels("labels", &labels(1, &"n".repeat(65), "")).is_err());
    }

    #[test]
    fn descriptions_are_bounded() {
        assert!(check_description("group.description", &"d".repeat(1_024)).is_ok());
        assert!(check_description("group.description", &"d".repeat(1_025)).is_err());
        assert!(check_description("group.description", "a\0").is_err());
    }
}
