//! The queue for an attempt while shuttle chooses how threads interleave.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use shuttle::{future::block_on, thread};

use super::waiting::{Turn, Waiting};
use crate::{store::AttemptKey, sync::explore};

const KEY: AttemptKey = AttemptKey([1; 16]);
const HOUR: Duration = Duration::from_secs(3_600);

fn queue<const N: usize>() -> (Arc<Waiting>, [Turn; N]) {
    let waiting = Arc::new(Waiting::default());
    let turns = [(); N].map(|()| waiting.join(KEY, 1).unwrap());
    (waiting, turns)
}

/// No test may lean on the first asking again after a while: shuttle does not know the clock.
fn wait(turn: &Turn) {
    assert!(block_on(turn.called_within(HOUR)));
}

#[test]
fn shuttle_one_place_goes_through_the_whole_queue() {
    // Shuttle fails a test whose threads wait for ever: a call that is lost needs no assertion.
    explore(|| {
        let (waiting, turns) = queue::<3>();
        let under_way = Arc::new(AtomicUsize::new(0));
        let threads = turns.map(|turn| {
            let (waiting, under_way) = (Arc::clone(&waiting), Arc::clone(&under_way));
            thread::spawn(move || {
                wait(&turn);
                assert_eq!(under_way.fetch_add(1, Ordering::Relaxed), 0, "two were called to one place");
                drop(turn);
                thread::yield_now();
                under_way.fetch_sub(1, Ordering::Relaxed);
                waiting.call_next(KEY);
            })
        });
        waiting.call_next(KEY);
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(waiting.is_empty(KEY));
    });
}

#[test]
fn shuttle_a_caller_that_leaves_takes_no_call_along() {
    explore(|| {
        let (waiting, [leaving, staying]) = queue();
        let leaver = thread::spawn(move || {
            let called = leaving.called_within(HOUR).now_or_never();
            drop(leaving);
            called.is_some()
        });
        let stayer = thread::spawn(move || wait(&staying));
        waiting.call_next(KEY);
        if leaver.join().unwrap() {
            // It has got the place, and gives it back.
            waiting.call_next(KEY);
        }
        stayer.join().unwrap();
        assert!(waiting.is_empty(KEY));
    });
}
