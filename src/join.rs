//! Two futures at once, without a runtime.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

/// Waits for both, polling both from the start.
pub(crate) async fn join<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut first, mut second) = (None, None);
    poll_fn(|cx| {
        if first.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(cx)
        {
            first = Some(output);
        }
        if second.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(cx)
        {
            second = Some(output);
        }
        match (first.take(), second.take()) {
            (Some(first), Some(second)) => Poll::Ready((first, second)),
            unfinished => {
                (first, second) = unfinished;
                Poll::Pending
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::join;

    #[tokio::test]
    async fn each_may_wait_for_the_other() {
        let ((to_a, at_a), (to_b, at_b)) = (oneshot::channel(), oneshot::channel());
        let a = async {
            to_b.send(1).unwrap();
            at_a.await.unwrap()
        };
        let b = async {
            let got = at_b.await.unwrap();
            to_a.send(got + 1).unwrap();
            got
        };
        assert_eq!(join(a, b).await, (2, 1));
    }
}
