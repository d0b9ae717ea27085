//! Lists that fetch their pages as they are read.

use std::{collections::VecDeque, pin::Pin};

use futures_util::{Stream, stream};

use crate::{client::Client, error::Result};

/// Objects of a list, fetched page by page.
pub type Pages<T> = Pin<Box<dyn Stream<Item = Result<T>> + Send>>;

/// A list whose `fetch` returns a page and the token of the next one, empty at the end.
pub(crate) fn pages<T, F, C>(client: Client, fetch: C) -> Pages<T>
where
    T: Send + 'static,
    C: Fn(Client, String) -> F + Send + 'static,
    F: Future<Output = Result<(Vec<T>, String)>> + Send,
{
    /// Fetched objects, and the token of the next page: `None` behind the last one.
    type State<T, C> = (VecDeque<T>, Option<String>, Client, C);
    let start: State<T, C> = (VecDeque::new(), Some(String::new()), client, fetch);
    Box::pin(stream::try_unfold(start, |(mut fetched, mut token, client, fetch)| async move {
        // A page may be empty although there are more: go on until an object, or the end.
        while fetched.is_empty() {
            let Some(page_token) = token else {
                return Ok(None);
            };
            let (page, next) = fetch(client.clone(), page_token).await?;
            fetched = page.into();
            token = (!next.is_empty()).then_some(next);
        }
        Ok(fetched.pop_front().map(|object| (object, (fetched, token, client, fetch))))
    }))
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn a_list_goes_through_all_pages_even_empty_ones() {
        let client = Client::lazy(crate::ClientOptions::new("eventflow://localhost").expect("options"));
        let list = pages(client, |_, token: String| async move {
            Ok(match token.as_str() {
                "" => (vec![1, 2], "b".to_owned()),
                "b" => (vec![], "c".to_owned()),
                _ => (vec![3], String::new()),
            })
        });
        let all: Vec<i32> = list.try_collect().await.expect("pages");
        assert_eq!(all, [1, 2, 3]);
    }
}
