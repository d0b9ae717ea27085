//! The frames of a session on their way out.

use crate::delivery::frame::Frame;
use crate::domain::{Error, Result};
use crate::runtime::clock::since_boot;
use futures_util::Stream;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::{mpsc, oneshot};

/// Frames on their way to a subscriber's stream. When it is full the session waits.
const QUEUE: usize = 8;

/// What a subscriber gets. Dropped, it says that the subscriber has gone.
pub struct Frames {
    queue: mpsc::Receiver<Result<Frame>>,
    /// An error that overtakes what the subscriber did not take.
    cut: Option<oneshot::Receiver<Error>>,
    /// The next one, when it was looked at and not taken: it has not left the broker.
    peeked: Option<Result<Frame>>,
}

/// The session's end of it.
pub(super) struct Outlet {
    pub queue: mpsc::Sender<Result<Frame>>,
    pub cut: Option<oneshot::Sender<Error>>,
}

pub(super) fn frames() -> (Outlet, Frames) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let (cutter, cut) = oneshot::channel();
    (Outlet { queue: sender, cut: Some(cutter) }, Frames { queue, cut: Some(cut), peeked: None })
}

impl Frames {
    /// Waits for the next frame and leaves it here. None: only an error is left, or the end, as the next one will say.
    pub async fn peek(&mut self) -> Option<&Frame> {
        if self.peeked.is_none() {
            self.peeked = std::future::poll_fn(|cx| self.pull(cx)).await;
        }
        self.peeked.as_ref().and_then(|peeked| peeked.as_ref().ok())
    }

    fn pull(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame>>> {
        match self.cut.as_mut().map(|cut| Pin::new(cut).poll(cx)) {
            Some(Poll::Ready(Ok(error))) => {
                self.cut = None;
                self.queue.close();
                while self.queue.try_recv().is_ok() {}
                return Poll::Ready(Some(Err(error)));
            }
            Some(Poll::Ready(Err(_))) => self.cut = None,
            Some(Poll::Pending) | None => {}
        }
        self.queue.poll_recv(cx)
    }
}

impl Stream for Frames {
    type Item = Result<Frame>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = match self.peeked.take() {
            Some(peeked) => Poll::Ready(Some(peeked)),
            None => self.pull(cx),
        };
        if let Poll::Ready(Some(Ok(frame))) = &next {
            frame.flushed(since_boot().as_millis() as u64);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Reason;
    use futures_util::StreamExt;

    #[tokio::test]
    async fn a_cut_overtakes_what_was_not_taken() {
        let (mut outlet, mut frames) = frames();
        outlet.queue.send(Ok(Frame::Lost(vec![1]))).await.expect("room");
        assert!(matches!(frames.next().await, Some(Ok(Frame::Lost(_)))));
        outlet.queue.send(Ok(Frame::Lost(vec![2]))).await.expect("room");
        let error = Error::new(Reason::SlowConsumer, "too slow");
        outlet.cut.take().expect("not cut yet").send(error).expect("somebody listens");
        assert!(matches!(frames.next().await, Some(Err(error)) if error.reason() == Reason::SlowConsumer));
        drop(outlet);
        assert!(frames.next().await.is_none());
    }

    #[tokio::test]
    async fn a_frame_that_is_only_looked_at_has_not_left() {
        let (outlet, mut frames) = frames();
        let stamp = crate::delivery::frame::Stamp::default();
        let frame = Frame::Redelivered { events: Vec::new(), stamp: stamp.clone() };
        outlet.queue.send(Ok(frame)).await.expect("room");
        assert!(frames.peek().await.is_some() && frames.peek().await.is_some());
        assert_eq!(stamp.at(), None);
        assert!(frames.next().await.is_some());
        assert!(stamp.at().is_some());
        drop(outlet);
        assert!(frames.peek().await.is_none() && frames.next().await.is_none());
    }

    #[tokio::test]
    async fn without_a_cut_every_frame_comes() {
        let (outlet, mut frames) = frames();
        outlet.queue.send(Ok(Frame::Lost(vec![1]))).await.expect("room");
        drop(outlet);
        assert!(frames.next().await.is_some());
        assert!(frames.next().await.is_none());
    }
}
