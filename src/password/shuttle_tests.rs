//! The pool while shuttle chooses how threads interleave.

use std::{
    task::{Context, Waker},
    time::Duration,
};

use shuttle::{future::block_on, thread};

use super::{HashingPool, PoolStats};
use crate::sync::explore;

fn pool(threads: usize) -> HashingPool {
    // Nothing is refused: a refusal would wait on the clock, which shuttle does not know.
    HashingPool::new().with_threads(threads).with_queue_wait(Duration::from_secs(3_600))
}

#[test]
fn shuttle_every_job_is_answered() {
    explore(|| {
        let pool = pool(2);
        let callers: Vec<_> = (0..3_u64)
            .map(|number| {
                let pool = pool.clone();
                thread::spawn(move || block_on(pool.submit(Some(number), None, move |_| number)).unwrap())
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
            let mut job = Box::pin(leaving.submit(Some(5), None, |_| ()));
            let _ = job.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        });
        block_on(pool.submit(Some(7), None, |_| ())).unwrap();
        leaving.join().unwrap();
        // The thread is the only one and takes jobs in order: after this one it has seen all.
        block_on(pool.submit(Some(1), None, |_| ())).unwrap();
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
        let caller = thread::spawn(move || block_on(clone.submit(Some(1), None, |_| ())).unwrap());
        let mut left = Box::pin(second.submit(Some(1), None, |_| ()));
        let _ = left.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop(left);
        drop((first, second));
        caller.join().unwrap();
    });
}
