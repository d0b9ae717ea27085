//! Field masks.

use crate::domain::{Error, Result};
use prost_types::FieldMask;

/// The paths of an `update_mask`, each one of `known`.
pub fn paths<'a>(mask: Option<&'a FieldMask>, known: &[&str]) -> Result<Vec<&'a str>> {
    let paths: Vec<&str> = mask.map(|mask| mask.paths.iter().map(String::as_str).collect()).unwrap_or_default();
    let list = || known.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ");
    if paths.is_empty() {
        return Err(Error::invalid("update_mask", format!("must name what to change, of {}", list())));
    }
    if let Some(unknown) = paths.iter().find(|path| !known.contains(path)) {
        return Err(Error::invalid("update_mask", format!("must not name `{unknown}`, only {}", list())));
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(paths: &[&str]) -> FieldMask {
        FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }
    }

    #[test]
    fn a_mask_names_known_paths_and_at_least_one() {
        let known = ["description", "labels"];
        assert_eq!(paths(Some(&mask(&["labels"])), &known).expect("known"), ["labels"]);
        let error = paths(Some(&mask(&["labels", "name"])), &known).expect_err("unknown");
        assert!(error.message().contains("`name`"), "{error:?}");
        assert!(paths(Some(&mask(&[])), &known).is_err());
        assert!(paths(None, &known).is_err());
    }
}
