//! The answer's channel and the pool while shuttle chooses how threads interleave.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use shuttle::{future::block_on, thread};

use super::{HashingPool, PoolStats, oneshot};
use crate::sync::explore;

/// Says how often it was dropped.
struct Value(Arc<AtomicUsize>);

impl Drop for Value {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn pool(threads: usize) -> HashingPool {
    // Nothing is refused: a refusal would wait on the clock, which shuttle does not know.
    HashingPool::new().with_threads(threads).with_queue_wait(Duration::from_secs(3_600))
}

#[test]
fn shuttle_a_sent_value_wakes_who_waits() {
    explore(|| {
        let (sender, receiver) = oneshot::channel();
        let sending = thread::spawn(move || sender.send(7));
        assert_eq!(block_on(receiver), Some(7));
        sending.join().unwrap();
    });
}

#[test]
fn shuttle_a_dropped_sender_wakes_who_waits() {
    explore(|| {
        let (sender, receiver) = oneshot::channel::<u8>();
        let dropping = thread::spawn(move || drop(sender));
        assert_eq!(block_on(receiver), None);
        dropping.join().unwrap();
    });
}

#[test]
fn shuttle_a_receiver_that_moves_is_woken_where_it_is() {
    explore(|| {
        let (sender, mut receiver) = oneshot::channel();
        let sending = thread::spawn(move || sender.send(7));
        let polled = Future::poll(std::pin::Pin::new(&mut receiver), &mut Context::from_waker(Waker::noop()));
        let value = match polled {
            Poll::Ready(value) => value,
            Poll::Pending => thread::spawn(move || block_on(receiver)).join().unwrap(),
        };
        assert_eq!(value, Some(7));
        sending.join().unwrap();
    });
}

#[test]
fn shuttle_a_value_is_dropped_once_when_the_receiver_goes() {
    explore(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let (sender, mut receiver) = oneshot::channel();
        let value = Value(Arc::clone(&dropped));
        let sending = thread::spawn(move || {
            let _ = sender.is_abandoned();
            sender.send(value);
        });
        let _ = Future::poll(std::pin::Pin::new(&mut receiver), &mut Context::from_waker(Waker::noop()));
        drop(receiver);
        sending.join().unwrap();
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn shuttle_every_job_is_answered() {
    explore(|| {
        let pool = pool(2);
        let callers: Vec<_> = (0..3_u64)
            .map(|number| {
                let pool = pool.clone();
                thread::spawn(move || block_on(pool.run(number, None, move |_| number)).unwrap())
            })
            .collect();
        let answers: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
        assert_eq!(answers, [0, 1, 2]);
        assert_eq!(pool.stats(), PoolStats { hashed: 3, ..PoolStats::default() });
        assert_eq!(pool.waiting_work(), 0);
    });
}

#[test]
fn shuttle_a_caller_that_leaves_stops_no_other() {
    explore(|| {
        let pool = pool(1);
        let leaving = pool.clone();
        let leaving = thread::spawn(move || {
            let mut job = Box::pin(leaving.run(5, None, |_| ()));
            let _ = job.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        });
        block_on(pool.run(7, None, |_| ())).unwrap();
        leaving.join().unwrap();
        // The thread is the only one and takes jobs in order: after this one it has seen all.
        block_on(pool.run(1, None, |_| ())).unwrap();
        let done = pool.stats();
        assert_eq!((done.hashed + done.skipped, done.queued), (3, 0), "{done:?}");
        assert!(done.hashed >= 2, "{done:?}");
        assert_eq!(pool.waiting_work(), 0);
    });
}

#[test]
fn shuttle_threads_end_with_the_pool() {
    // Shuttle fails a test whose threads wait for ever, so that this one needs no assertion.
    explore(|| {
        let (first, second) = (pool(2), pool(1));
        let clone = first.clone();
        let caller = thread::spawn(move || block_on(clone.run(1, None, |_| ())).unwrap());
        let mut left = Box::pin(second.run(1, None, |_| ()));
        let _ = left.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop(left);
        drop((first, second));
        caller.join().unwrap();
    });
}
