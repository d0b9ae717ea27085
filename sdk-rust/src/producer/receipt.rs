//! Receipts: what became of each event.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    error::{Error, Result},
    position::Appended,
};

/// A future that gives where an event stands, once it is durable, or why it is not there. Dropping it does not stop the
/// event.
#[must_use = "the event is sent anyway; flush or close tell of failures"]
pub struct Receipt {}

impl Future for Receipt {
    type Output = Result<Appended>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Err(Error::closed("producer")))
    }
}
