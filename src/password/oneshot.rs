//! One value from a hashing thread to whoever waits for it, without a runtime.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::sync::{Mutex, lock};

enum State<T> {
    Waiting(Option<Waker>),
    Sent(T),
    Closed,
}

pub(super) struct Sender<T>(Arc<Mutex<State<T>>>);

pub(super) struct Receiver<T>(Arc<Mutex<State<T>>>);

pub(super) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let state = Arc::new(Mutex::new(State::Waiting(None)));
    (Sender(Arc::clone(&state)), Receiver(state))
}

impl<T> Sender<T> {
    /// Whether the receiver has gone.
    pub(super) fn is_abandoned(&self) -> bool {
        matches!(*lock(&self.0), State::Closed)
    }

    pub(super) fn send(self, value: T) {
        self.finish(State::Sent(value));
    }

    fn finish(&self, end: State<T>) {
        let mut state = lock(&self.0);
        if let State::Waiting(waker) = &mut *state {
            let waker = waker.take();
            *state = end;
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.finish(State::Closed);
    }
}

impl<T> Future for Receiver<T> {
    /// `None`: the sender was dropped without sending.
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = lock(&self.0);
        if let State::Waiting(waker) = &mut *state {
            let before = waker.replace(cx.waker().clone());
            // A waker runs code of the caller's when it is dropped: never under the lock.
            drop(state);
            drop(before);
            return Poll::Pending;
        }
        match mem::replace(&mut *state, State::Closed) {
            State::Sent(value) => Poll::Ready(Some(value)),
            _ => Poll::Ready(None),
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let before = mem::replace(&mut *lock(&self.0), State::Closed);
        drop(before);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll<T>(receiver: Pin<&mut Receiver<T>>, count: &Arc<Count>) -> Poll<Option<T>> {
        receiver.poll(&mut Context::from_waker(&Waker::from(Arc::clone(count))))
    }

    #[test]
    fn a_value_wakes_the_waker_of_the_last_poll() {
        let (sender, receiver) = channel();
        let (first, last) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let mut receiver = pin!(receiver);
        assert!(poll(receiver.as_mut(), &first).is_pending());
        assert!(poll(receiver.as_mut(), &last).is_pending());
        sender.send(7);
        assert_eq!((first.0.load(Ordering::Relaxed), last.0.load(Ordering::Relaxed)), (0, 1));
        assert_eq!(poll(receiver.as_mut(), &last), Poll::Ready(Some(7)));
        assert_eq!(poll(receiver, &last), Poll::Ready(None), "a value is given once");
    }

    #[test]
    fn a_dropped_sender_wakes_too() {
        let (sender, receiver) = channel::<u8>();
        let count = Arc::new(Count::default());
        let mut receiver = pin!(receiver);
        assert!(poll(receiver.as_mut(), &count).is_pending());
        drop(sender);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(receiver, &count), Poll::Ready(None));
    }

    #[test]
    fn a_sender_knows_that_its_receiver_has_gone() {
        let (sender, receiver) = channel();
        assert!(!sender.is_abandoned());
        drop(receiver);
        assert!(sender.is_abandoned());
        let value = Arc::new(());
        sender.send(Arc::clone(&value));
        assert_eq!(Arc::strong_count(&value), 1, "what nobody takes is dropped");
    }

    #[test]
    fn a_waker_may_drop_the_receiver_that_holds_it() {
        struct Owner(std::sync::Mutex<Option<Receiver<u8>>>);
        impl Wake for Owner {
            fn wake(self: Arc<Self>) {}
        }
        let (sender, receiver) = channel();
        let owner = Arc::new(Owner(std::sync::Mutex::new(Some(receiver))));
        let waker = Waker::from(Arc::clone(&owner));
        let mut held = owner.0.lock().unwrap();
        let receiver = Pin::new(held.as_mut().unwrap());
        assert!(receiver.poll(&mut Context::from_waker(&waker)).is_pending());
        drop(held);
        drop((owner, waker));
        // The channel now holds the last waker, which owns the receiver.
        let (done, sent) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            sender.send(7);
            done.send(()).ok();
        });
        assert!(sent.recv_timeout(std::time::Duration::from_secs(10)).is_ok(), "the sender hangs");
    }
}
