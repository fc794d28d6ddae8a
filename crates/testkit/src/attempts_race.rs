//! [`AttemptStore`] with many calls at once.

use std::sync::Arc;

use crate::{
    attempts::{CONTRACT, THREE, random_id},
    support::{Race, attempt_key, soon},
};
use futures_util::future::BoxFuture;
use tower_oauth2_password::{
    BoxError,
    store::{AttemptKey, AttemptOutcome, AttemptStore, Reservation, ReservationId, Slot},
};

const ROUNDS: usize = 20;
const AT_ONCE: usize = 16;

pub(crate) async fn check<S: AttemptStore>(stores: &[Arc<S>], race: Race<'_>) {
    for _ in 0..ROUNDS {
        a_burst_fills_the_limit_and_no_more(stores, race).await;
        places_are_never_given_twice(stores, race).await;
    }
}

type Answer = Result<(ReservationId, Reservation), BoxError>;

async fn reserve_at_once<S: AttemptStore>(
    stores: &[Arc<S>],
    race: Race<'_>,
    key: AttemptKey,
    settle: Option<AttemptOutcome>,
) -> Vec<(ReservationId, Reservation)> {
    let call = |store: &Arc<S>| -> BoxFuture<'static, Answer> {
        let store = Arc::clone(store);
        let id = random_id();
        Box::pin(async move {
            let answer = store.reserve(Slot { key, id, limit: THREE }, soon()).await?;
            if let (Reservation::Reserved, Some(outcome)) = (answer, settle) {
                store.settle(Slot { key, id, limit: THREE }, outcome, soon()).await?;
            }
            Ok((id, answer))
        })
    };
    let calls = stores.iter().cycle().take(AT_ONCE).map(call).collect();
    race.run(calls).await.into_iter().map(|answer| CONTRACT.answer("reserve or settle", answer)).collect()
}

fn reserved(answers: &[(ReservationId, Reservation)]) -> usize {
    answers.iter().filter(|(_, answer)| *answer == Reservation::Reserved).count()
}

async fn a_burst_fills_the_limit_and_no_more<S: AttemptStore>(stores: &[Arc<S>], race: Race<'_>) {
    let clause = "of many reservations at once, as many are given as the limit allows, and the rest are `Busy`";
    let Some(store) = stores.first() else { return };
    let key = attempt_key();
    let answers = reserve_at_once(stores, race, key, None).await;
    let given = reserved(&answers);
    CONTRACT.require(given == 3, clause, format_args!("{given} of 3 places were given to {AT_ONCE}"));
    let held = answers.iter().any(|(_, answer)| matches!(answer, Reservation::Blocked { .. }));
    CONTRACT.require(!held, clause, "`Blocked` without a failure");
    for (id, _) in answers.into_iter().filter(|(_, answer)| *answer == Reservation::Reserved) {
        CONTRACT.answer("settle", store.settle(Slot { key, id, limit: THREE }, AttemptOutcome::Failed, soon()).await);
    }
    let given = reserved(&reserve_at_once(stores, race, key, None).await);
    CONTRACT.require(given == 0, clause, format_args!("{given} places were given to a burst while held"));
}

async fn places_are_never_given_twice<S: AttemptStore>(stores: &[Arc<S>], race: Race<'_>) {
    let clause = "at most as many attempts fail at once as the limit allows";
    let key = attempt_key();
    let failed = reserved(&reserve_at_once(stores, race, key, Some(AttemptOutcome::Failed)).await);
    CONTRACT.require(failed == 3, clause, format_args!("{failed} of 3 did"));
    let clause = "after a success the limit allows as many as before, and no more";
    let Some(store) = stores.first() else { return };
    CONTRACT.answer(
        "settle",
        store.settle(Slot { key, id: random_id(), limit: THREE }, AttemptOutcome::Succeeded, soon()).await,
    );
    let failed = reserved(&reserve_at_once(stores, race, key, Some(AttemptOutcome::Failed)).await);
    CONTRACT.require(failed == 3, clause, format_args!("{failed} of 3 places were given again"));
}
