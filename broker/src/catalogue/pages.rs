//! Pages of lists.

use crate::catalogue::Catalogue;
use crate::domain::Result;
use crate::domain::page::List;

/// A part of a list, and the token of the next one: empty at the end.
#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next_page_token: String,
}

impl<T> Page<T> {
    /// Without what does not concern the caller; such a page may be shorter than the next one.
    pub(super) fn of(mut self, concerns: impl Fn(&T) -> bool) -> Self {
        self.items.retain(concerns);
        self
    }
}

impl Catalogue {
    /// Makes a page of `size` from what was found, which is one more when there is another page.
    pub(super) async fn page<T>(
        &self,
        list: List<'_>,
        size: u32,
        mut found: Vec<T>,
        name: impl Fn(&T) -> &str,
    ) -> Result<Page<T>> {
        let more = found.len() > size as usize;
        found.truncate(size as usize);
        let next_page_token = match found.last() {
            Some(last) if more => self.page_key().await?.seal(list, name(last)),
            _ => String::new(),
        };
        Ok(Page { items: found, next_page_token })
    }
}
