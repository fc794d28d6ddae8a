//! The memory stores while shuttle chooses how threads interleave.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use shuttle::thread;

use super::*;
use crate::store::{
    AttemptKey, AttemptLimit, AttemptOutcome, AttemptStore, Denial, Denied, DenyList, Family, FamilyId, Previous,
    RefreshStore, Reservation, Rotation, SecretHash, Slot, SubjectRef, TokenRef,
};
use crate::sync::explore;

const HOUR: Duration = Duration::from_secs(3_600);

fn soon() -> Instant {
    Instant::now() + HOUR
}

/// Memory stores never wait, so their futures are ready at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a memory store waited"),
    }
}

fn all<T: Send + 'static>(jobs: Vec<Box<dyn FnOnce() -> T + Send>>) -> Vec<T> {
    let threads: Vec<_> = jobs.into_iter().map(|job| thread::spawn(job)).collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

#[test]
fn shuttle_one_of_many_rotations_wins() {
    explore(|| {
        let store = MemoryRefreshStore::new().with_clock(|| Duration::ZERO);
        let (id, first) = (FamilyId([1; 16]), SecretHash([0; 32]));
        now(store.insert(id, Family::new(first, "alice", HOUR, HOUR), 100, soon())).unwrap();
        let jobs = (1..=4_u8).map(|n| -> Box<dyn FnOnce() -> Rotation + Send> {
            let store = store.clone();
            Box::new(move || {
                now(store.rotate(id, Previous::new(first, Vec::new()), SecretHash([n; 32]), soon())).unwrap()
            })
        });
        let rotations = all(jobs.collect());
        assert_eq!(rotations.iter().filter(|&&rotation| rotation == Rotation::Rotated).count(), 1);
        let winner = u8::try_from(rotations.iter().position(|&r| r == Rotation::Rotated).unwrap()).unwrap() + 1;
        assert!(now(store.find(id, soon())).unwrap().unwrap().current == SecretHash([winner; 32]));
    });
}

#[test]
fn shuttle_nothing_survives_a_revocation() {
    explore(|| {
        let store = MemoryRefreshStore::new().with_clock(|| Duration::ZERO);
        let (id, first) = (FamilyId([1; 16]), SecretHash([0; 32]));
        now(store.insert(id, Family::new(first, "alice", HOUR, HOUR), 100, soon())).unwrap();
        let (rotating, revoking, sweeping) = (store.clone(), store.clone(), store.clone());
        let jobs: Vec<Box<dyn FnOnce() + Send>> = vec![
            Box::new(move || {
                now(rotating.rotate(id, Previous::new(first, Vec::new()), SecretHash([1; 32]), soon())).unwrap();
            }),
            Box::new(move || now(revoking.revoke(id, soon())).unwrap()),
            Box::new(move || {
                now(sweeping.revoke_subject(SubjectRef::new("", "alice"), None)).unwrap();
            }),
        ];
        all(jobs);
        assert!(now(store.find(id, soon())).unwrap().is_none());
        assert!(store.is_empty());
    });
}

#[test]
fn shuttle_attempts_never_exceed_the_limit() {
    explore(|| {
        let store = MemoryAttemptStore::new().with_clock(|| Duration::ZERO);
        let (key, limit) = (AttemptKey([1; 16]), AttemptLimit { failures: 2, window: HOUR });
        let jobs = (0..4).map(|id| -> Box<dyn FnOnce() -> bool + Send> {
            let store = store.clone();
            Box::new(move || {
                let reserved = now(store.reserve(Slot { key, id, limit }, soon())).unwrap() == Reservation::Reserved;
                if reserved {
                    now(store.settle(Slot { key, id, limit }, AttemptOutcome::Failed, soon())).unwrap();
                }
                reserved
            })
        });
        let reserved = all(jobs.collect()).into_iter().filter(|&reserved| reserved).count();
        assert_eq!(reserved, 2, "as many as the limit allows, whatever the order");
        assert!(matches!(now(store.reserve(Slot { key, id: 9, limit }, soon())).unwrap(), Reservation::Blocked { .. }));
    });
}

fn denies(list: &MemoryDenyList, id: &str) -> bool {
    let mut token = TokenRef::new("alice");
    token.id = Some(id);
    list.is_denied(token)
}

#[test]
fn shuttle_a_denied_token_is_denied_for_every_later_question() {
    explore(|| {
        let list = MemoryDenyList::new().with_clock(|| Duration::ZERO);
        let jobs = (0..3).map(|n: usize| -> Box<dyn FnOnce() + Send> {
            let list = list.clone();
            Box::new(move || {
                let name = n.to_string();
                assert!(now(list.deny(Denial::new(Denied::Token(&name), None, "alice", HOUR), soon())).unwrap());
                assert!(denies(&list, &name));
            })
        });
        all(jobs.collect());
        assert!((0..3).all(|n| denies(&list, &n.to_string())));
    });
}
