//! [`RefreshStore`] with many calls at once.

use std::sync::Arc;

use crate::{
    refresh::{CONTRACT, Known, family, here, rotate, secret},
    support::{Race, name, poll_and_drop, soon},
};
use futures_util::future::BoxFuture;
use tower_oauth2_password::{
    BoxError,
    store::{Previous, RefreshStore, Rotation, SecretHash},
};

const ROUNDS: usize = 20;
const AT_ONCE: usize = 16;

pub(crate) async fn check<S: RefreshStore>(stores: &[Arc<S>], race: Race<'_>) {
    for _ in 0..ROUNDS {
        of_many_rotations_one_wins(stores, race).await;
        a_revocation_beats_rotations(stores, race, false).await;
        a_revocation_beats_rotations(stores, race, true).await;
    }
}

type Answer = Result<Rotation, BoxError>;

/// Calls with the same secret, each with its own successor.
fn rotations<S: RefreshStore>(stores: &[Arc<S>], known: &Known) -> (Vec<SecretHash>, Vec<BoxFuture<'static, Answer>>) {
    let (id, presented) = (known.id, known.current);
    let call = |store: &Arc<S>| {
        let (store, next) = (Arc::clone(store), secret());
        let call: BoxFuture<'static, Answer> =
            Box::pin(async move { store.rotate(id, Previous::new(presented, Vec::new()), next, soon()).await });
        (next, call)
    };
    stores.iter().cycle().take(AT_ONCE).map(call).unzip()
}

async fn of_many_rotations_one_wins<S: RefreshStore>(stores: &[Arc<S>], race: Race<'_>) {
    let clause = "of any number of rotations with one secret, exactly one is answered `Rotated`";
    let Some(store) = stores.first() else { return };
    let known = Known::begin(store, family(&name("subject"))).await;
    let (secrets, calls) = rotations(stores, &known);
    let answers = race.run(calls).await;
    let mut winners = Vec::new();
    for (secret, answer) in secrets.into_iter().zip(answers) {
        match CONTRACT.answer("rotate", answer) {
            Rotation::Rotated => winners.push(secret),
            Rotation::Mismatch => {}
            other => CONTRACT.broken(clause, format_args!("a loser was answered {other:?}")),
        }
    }
    CONTRACT.require(winners.len() == 1, clause, format_args!("{} of {AT_ONCE} were", winners.len()));
    for store in stores {
        let current = known.find(store).await.map(|found| found.current);
        CONTRACT.require(current == winners.first().copied(), clause, "the winner's successor is not current");
    }
}

async fn a_revocation_beats_rotations<S: RefreshStore>(stores: &[Arc<S>], race: Race<'_>, whole_subject: bool) {
    let clause = "a revocation that was answered holds, whatever ran beside it";
    let (Some(store), Some(revoking)) = (stores.first(), stores.last().cloned()) else { return };
    let subject = name("subject");
    let mut known = Known::begin(store, family(&subject)).await;
    let (secrets, mut calls) = rotations(stores, &known);
    let id = known.id;
    let revocation: BoxFuture<'static, Answer> = Box::pin(async move {
        if whole_subject {
            revoking.revoke_subject(here(&subject), None).await?;
        } else {
            revoking.revoke(id, soon()).await?;
        }
        Ok(Rotation::Gone)
    });
    calls.insert(AT_ONCE / 2, revocation);
    for answer in race.run(calls).await {
        CONTRACT.answer("rotate, revoke or revoke_subject", answer);
    }
    for store in stores {
        known.require_gone(&**store, clause).await;
        for &secret in &secrets {
            let rotation = rotate(&**store, id, Previous::new(secret, Vec::new()), secret).await;
            CONTRACT.require(rotation == Rotation::Gone, clause, format_args!("`rotate` answers {rotation:?}"));
        }
    }
}

pub(crate) async fn a_dropped_rotation_is_done_or_not(store: &impl RefreshStore) {
    let clause = "a future that is dropped leaves the call done or not done, never half done";
    for polls in 1..=8 {
        let known = Known::begin(store, family(&name("subject"))).await;
        let (first, next, sealed) = (known.current, secret(), vec![7; 32]);
        let old = Previous::new(first, sealed.clone());
        let answer = poll_and_drop(store.rotate(known.id, old, next, soon()), polls).await;
        for _ in 0..3 {
            let Some(found) = known.find(store).await else { CONTRACT.broken(clause, "the family is gone") };
            let whole = match found.previous {
                None => found.current == first,
                Some(previous) => {
                    found.current == next && previous.secret == first && previous.sealed_successor == sealed
                }
            };
            CONTRACT.require(whole, clause, "current secret and predecessor do not fit together");
            let lost = matches!(answer, Some(Ok(Rotation::Rotated))) && found.current == first;
            CONTRACT.require(!lost, clause, "a rotation that was answered is undone");
        }
    }
}
