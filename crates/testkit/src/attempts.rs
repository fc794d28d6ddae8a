//! The contract of [`AttemptStore`], as a single caller sees it.

use std::time::Duration;

use crate::support::{
    Contract, HOUR, LATE, SHORT, SLACK, Span, attempt_key, comes, decided, lasts, over, poll_and_drop, random, soon,
};
use tokio::time::sleep;
use tower_oauth2_password::store::{
    AttemptKey, AttemptLimit, AttemptOutcome, AttemptStore, Reservation, ReservationId, Slot,
};

pub(crate) const CONTRACT: Contract = Contract("AttemptStore");
pub(crate) const THREE: AttemptLimit = AttemptLimit { failures: 3, window: HOUR };
/// 30 seconds, plus some time for the store to notice.
const LEASE: Duration = Duration::from_millis(31_500);

pub(crate) async fn check(store: &impl AttemptStore) {
    the_limit_is_filled_by_both(store).await;
    a_limit_of_none_lets_nobody_in(store).await;
    a_released_place_is_free(store).await;
    a_success_clears(store).await;
    unknown_ids_free_no_place(store).await;
    keys_are_independent(store).await;
    late_calls_do_nothing(store).await;
    a_hold_lasts_for_the_window(store).await;
    failures_lapse_one_by_one(store).await;
    an_abandoned_place_is_free(store).await;
}

pub(crate) async fn check_lease(store: &impl AttemptStore) {
    let clause = "a reservation that is never settled is given back after at most 30 seconds";
    let key = Key::new(store, AttemptLimit { failures: 2, window: HOUR });
    key.fail(random_id()).await;
    key.reserve_or_break(clause).await;
    key.expect(Reservation::Busy, clause).await;
    comes(CONTRACT, clause, LEASE, async || key.try_now().await == Reservation::Reserved).await;
    key.expect(Reservation::Busy, "a place that was given back leaves the failures as they are").await;
}

/// One key of a store, under one limit.
pub(crate) struct Key<'a, S> {
    store: &'a S,
    key: AttemptKey,
    limit: AttemptLimit,
}

pub(crate) fn random_id() -> ReservationId {
    ReservationId::from_ne_bytes(random())
}

impl<'a, S: AttemptStore> Key<'a, S> {
    pub(crate) fn new(store: &'a S, limit: AttemptLimit) -> Self {
        Self { store, key: attempt_key(), limit }
    }

    fn slot(&self, id: ReservationId) -> Slot {
        Slot { key: self.key, id, limit: self.limit }
    }

    async fn reserve(&self, id: ReservationId) -> Reservation {
        CONTRACT.answer("reserve", self.store.reserve(self.slot(id), soon()).await)
    }

    async fn try_now(&self) -> Reservation {
        self.reserve(random_id()).await
    }

    async fn reserve_or_break(&self, clause: &str) -> ReservationId {
        let id = random_id();
        let answer = self.reserve(id).await;
        CONTRACT.require(answer == Reservation::Reserved, clause, format_args!("a free place is answered {answer:?}"));
        id
    }

    async fn settle(&self, id: ReservationId, outcome: AttemptOutcome) {
        CONTRACT.answer("settle", self.store.settle(self.slot(id), outcome, soon()).await);
    }

    async fn fail(&self, id: ReservationId) {
        self.settle(id, AttemptOutcome::Failed).await;
    }

    /// Reserves a slot and settles it as failed.
    async fn fail_again(&self, clause: &str) {
        let id = self.reserve_or_break(clause).await;
        self.fail(id).await;
    }

    async fn expect(&self, expected: Reservation, clause: &str) {
        let answer = self.try_now().await;
        CONTRACT.require(answer == expected, clause, format_args!("`reserve` answers {answer:?}, not {expected:?}"));
    }

    async fn expect_held(&self, clause: &str) -> Duration {
        match self.try_now().await {
            Reservation::Blocked { retry_after } => {
                let within = retry_after <= self.limit.window + SLACK;
                CONTRACT.require(within, clause, format_args!("to retry after {retry_after:?} is beyond the window"));
                retry_after
            }
            answer => CONTRACT.broken(clause, format_args!("`reserve` answers {answer:?}, not `Blocked`")),
        }
    }

    /// Takes this many slots. Exactly as many must be free.
    async fn expect_free(&self, places: usize, clause: &str) {
        for _ in 0..places {
            self.reserve_or_break(clause).await;
        }
        self.expect(Reservation::Busy, clause).await;
    }
}

async fn the_limit_is_filled_by_both(store: &impl AttemptStore) {
    let clause = "failures and open reservations together never exceed the limit";
    let key = Key::new(store, THREE);
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(key.reserve_or_break(clause).await);
    }
    let held = "it is `Busy` while checks are under way, and `Blocked` once failures alone fill the limit";
    for id in open {
        key.expect(Reservation::Busy, clause).await;
        key.expect(Reservation::Busy, held).await;
        key.fail(id).await;
    }
    key.expect_held(held).await;
    key.expect_held(held).await;
}

async fn a_limit_of_none_lets_nobody_in(store: &impl AttemptStore) {
    let clause = "under a limit of 0 failures no place is given";
    let key = Key::new(store, AttemptLimit { failures: 0, window: HOUR });
    let answer = key.try_now().await;
    CONTRACT.require(answer != Reservation::Reserved, clause, "one was");
}

async fn a_released_place_is_free(store: &impl AttemptStore) {
    let clause = "`Released` gives the place back and leaves the failures as they are";
    let key = Key::new(store, THREE);
    key.fail_again(clause).await;
    let one = key.reserve_or_break(clause).await;
    key.reserve_or_break(clause).await;
    key.settle(one, AttemptOutcome::Released).await;
    key.expect_free(1, clause).await;
    // The store no longer knows this id.
    key.settle(one, AttemptOutcome::Released).await;
    key.expect(Reservation::Busy, "a place is given back once").await;
}

async fn a_success_clears(store: &impl AttemptStore) {
    let clause = "`Succeeded` gives its place back and forgets the failures, but no other check under way";
    let key = Key::new(store, THREE);
    key.fail_again(clause).await;
    key.reserve_or_break(clause).await;
    let good = key.reserve_or_break(clause).await;
    key.settle(good, AttemptOutcome::Succeeded).await;
    key.expect_free(2, clause).await;
}

async fn unknown_ids_free_no_place(store: &impl AttemptStore) {
    let clause = "`Released` with an unknown id is ignored";
    let key = Key::new(store, THREE);
    key.settle(random_id(), AttemptOutcome::Released).await;
    key.fail_again(clause).await;
    key.reserve_or_break(clause).await;
    key.settle(random_id(), AttemptOutcome::Released).await;
    key.expect_free(1, clause).await;

    let clause = "`Failed` with an unknown id still counts";
    let key = Key::new(store, THREE);
    for _ in 0..3 {
        key.fail(random_id()).await;
    }
    key.expect_held(clause).await;

    let clause = "`Succeeded` with an unknown id still clears";
    key.settle(random_id(), AttemptOutcome::Succeeded).await;
    key.expect_free(3, clause).await;
}

async fn keys_are_independent(store: &impl AttemptStore) {
    let clause = "keys are independent";
    let one = Key::new(store, THREE);
    for _ in 0..3 {
        one.fail_again(clause).await;
    }
    for place in [0, 15] {
        let mut other = Key::new(store, THREE);
        other.key = one.key;
        if let Some(byte) = other.key.0.get_mut(place) {
            *byte ^= 1;
        }
        other.expect_free(3, clause).await;
        other.settle(random_id(), AttemptOutcome::Succeeded).await;
        one.expect_held(clause).await;
    }
}

async fn late_calls_do_nothing(store: &impl AttemptStore) {
    let key = Key::new(store, THREE);
    CONTRACT.require_late("reserve", &store.reserve(key.slot(random_id()), over()).await);
    let place = key.reserve_or_break(LATE).await;
    for outcome in [AttemptOutcome::Failed, AttemptOutcome::Released] {
        CONTRACT.require_late("settle", &store.settle(key.slot(place), outcome, over()).await);
    }
    key.fail(place).await;
    let late = store.settle(key.slot(place), AttemptOutcome::Succeeded, over()).await;
    CONTRACT.require_late("settle", &late);
    key.expect_free(2, LATE).await;
}

async fn a_hold_lasts_for_the_window(store: &impl AttemptStore) {
    let clause = "a hold lasts until the failure stops counting, however often it is tried meanwhile";
    let key = Key::new(store, AttemptLimit { failures: 1, window: SHORT });
    let id = key.reserve_or_break(clause).await;
    let (failed, ()) = Span::of(key.fail(id)).await;
    lasts(CONTRACT, clause, failed, SHORT, async || {
        let (asked, answer) = Span::of(key.try_now()).await;
        let Reservation::Blocked { retry_after } = answer else {
            CONTRACT.require(answer == Reservation::Reserved, clause, format_args!("`reserve` answers {answer:?}"));
            return false;
        };
        let (least, most) = failed.until(asked);
        let told = "`retry_after` tells when the oldest failure stops counting";
        CONTRACT.require(
            retry_after + most >= SHORT && retry_after + least <= SHORT,
            told,
            format_args!("{retry_after:?} at {least:?} to {most:?} after the failure, for a window of {SHORT:?}"),
        );
        true
    })
    .await;
    key.expect(Reservation::Busy, "`Blocked` adds neither a failure nor a reservation").await;
}

async fn failures_lapse_one_by_one(store: &impl AttemptStore) {
    let clause = "each failure counts for the window from its own settlement";
    let window = SHORT * 2;
    decided(clause, async || {
        let key = Key::new(store, AttemptLimit { failures: 2, window });
        let id = key.reserve_or_break(clause).await;
        let (first, ()) = Span::of(key.fail(id)).await;
        sleep(window / 2).await;
        let id = key.reserve_or_break(clause).await;
        let (second, ()) = Span::of(key.fail(id)).await;
        let mut place = random_id();
        if second.to + SLACK < first.from + window {
            lasts(CONTRACT, clause, first, window, async || {
                place = random_id();
                key.reserve(place).await != Reservation::Reserved
            })
            .await;
        } else {
            return false;
        }
        let (asked, answer) = Span::of(key.try_now()).await;
        if asked.to + SLACK >= second.from + window {
            return false;
        }
        CONTRACT.require(answer == Reservation::Busy, clause, format_args!("with the first, the second: {answer:?}"));
        key.settle(place, AttemptOutcome::Released).await;
        let mut free = Vec::new();
        lasts(CONTRACT, clause, second, window, async || {
            for _ in 0..2 {
                let id = random_id();
                if key.reserve(id).await == Reservation::Reserved {
                    free.push(id);
                }
            }
            let both = free.len() == 2;
            for id in free.drain(..) {
                key.settle(id, AttemptOutcome::Released).await;
            }
            !both
        })
        .await;
        true
    })
    .await;
}

async fn an_abandoned_place_is_free(store: &impl AttemptStore) {
    let clause = "an abandoned place is given back, after 30 seconds at most";
    let key = Key::new(store, AttemptLimit { failures: 2, window: HOUR });
    key.fail_again(clause).await;
    let place = key.reserve_or_break(clause).await;
    store.abandon(key.slot(random_id()));
    key.expect(Reservation::Busy, "abandoning an unknown id gives no place back").await;
    store.abandon(key.slot(place));
    let dropped = Key::new(store, AttemptLimit { failures: 1, window: HOUR });
    for polls in 1..=4 {
        let id = random_id();
        drop(poll_and_drop(store.reserve(dropped.slot(id), soon()), polls).await);
        store.abandon(dropped.slot(id));
    }
    comes(CONTRACT, clause, LEASE, async || key.try_now().await == Reservation::Reserved).await;
    key.expect(Reservation::Busy, "abandoning leaves the failures as they are").await;
    let clause = "a reservation whose future was dropped and that was abandoned leaves nothing, after 30 seconds";
    comes(CONTRACT, clause, LEASE, async || dropped.try_now().await == Reservation::Reserved).await;
}
