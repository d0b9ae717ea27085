//! "Did you mean": a name that exists, near to the one that does not.

use eventflow::{Client, Error, ErrorKind};
use futures_util::{StreamExt, TryStreamExt};

use crate::failure::Failure;

/// Names that are looked through: a suggestion is worth one page, no more.
const NAMES_MAX: usize = 200;

/// The failure of a call that named a stream.
pub async fn stream_named(client: &Client, name: &str, error: Error) -> Failure {
    if error.reason() != "STREAM_NOT_FOUND" {
        return error.into();
    }
    let names = client.streams().list().take(NAMES_MAX).map_ok(|stream| stream.name);
    suggest(name, names.try_collect().await.unwrap_or_default(), error)
}

/// The failure of a call that named a group.
pub async fn group_named(client: &Client, name: &str, error: Error) -> Failure {
    if error.reason() != "CONSUMER_GROUP_NOT_FOUND" {
        return error.into();
    }
    let names = client.groups().list().take(NAMES_MAX).map_ok(|group| group.name);
    suggest(name, names.try_collect().await.unwrap_or_default(), error)
}

fn suggest(wrong: &str, names: Vec<String>, error: Error) -> Failure {
    debug_assert_eq!(error.kind(), ErrorKind::NotFound);
    let failure = Failure::from(error);
    match nearest(wrong, &names) {
        Some(name) => failure.hint(format!("did you mean `{name}`?")),
        None => failure,
    }
}

/// The name that fewest typing mistakes turn into `wrong`, when they are few.
fn nearest<'a>(wrong: &str, names: &'a [String]) -> Option<&'a str> {
    let mistakes_max = (wrong.chars().count() / 3).clamp(1, 3);
    names
        .iter()
        .map(|name| (distance(wrong, name), name.as_str()))
        .filter(|(mistakes, _)| *mistakes <= mistakes_max)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein's distance.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, left) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, right) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_is_recognized_and_another_word_is_not() {
        let names = ["orders".to_owned(), "payments".to_owned()];
        assert_eq!(nearest("ordrs", &names), Some("orders"));
        assert_eq!(nearest("payment", &names), Some("payments"));
        assert_eq!(nearest("users", &names), None);
        assert_eq!(nearest("x", &names), None);
    }
}
