//! How long families live in a [`RefreshStore`].

use crate::{
    refresh::{CONTRACT, Known, family, here, lived, rotate, secret},
    support::{HOUR, SHORT, SLACK, Span, decided, lasts, name},
};
use tokio::time::sleep;
use tower_oauth2_password::store::{Previous, RefreshStore, Rotation};

pub(crate) async fn check(store: &impl RefreshStore) {
    what_is_left_is_told(store).await;
    a_family_ends_unused(store).await;
    a_family_ends_although_it_is_used(store).await;
    a_use_restarts_the_idle_lifetime(store).await;
}

async fn what_is_left_is_told(store: &impl RefreshStore) {
    let (begun, mut known) = Span::of(Known::begin(store, family(&name("subject")))).await;
    let (rotated, _) = Span::of(known.rotate(store)).await;
    sleep(SHORT).await;
    let (found_at, found) = Span::of(known.find(store)).await;
    let clause = "`find` tells what is left of the absolute lifetime, and how old the predecessor is";
    let Some(found) = found else { CONTRACT.broken(clause, "nothing was found") };
    let (least, most) = begun.until(found_at);
    let spent = HOUR.saturating_sub(found.absolute_ttl);
    CONTRACT.require(
        found.absolute_ttl <= HOUR && spent >= least && spent <= most,
        clause,
        format_args!("{:?} are left of {HOUR:?} after {least:?} to {most:?}", found.absolute_ttl),
    );
    let (least, most) = rotated.until(found_at);
    let age = found.previous.map(|_| found.unused_for);
    CONTRACT.require(
        age.is_some_and(|age| age >= least && age <= most),
        clause,
        format_args!("the predecessor's age is {age:?} after {least:?} to {most:?}"),
    );
}

async fn a_family_ends_unused(store: &impl RefreshStore) {
    let lifetimes = [
        (SHORT, HOUR, "a family lives for its absolute lifetime and no longer"),
        (HOUR, SHORT, "a family lives unused for its idle lifetime and no longer; looking or a mismatch is no use"),
    ];
    for (absolute, idle, clause) in lifetimes {
        let subject = name("subject");
        let (begun, mut known) = Span::of(Known::begin(store, lived(&subject, absolute, idle))).await;
        lasts(CONTRACT, clause, begun, SHORT, async || {
            let found = known.find(store).await.is_some();
            found && rotate(store, known.id, Previous::new(secret(), Vec::new()), secret()).await == Rotation::Mismatch
        })
        .await;
        known.require_gone(store, clause).await;
        let ended = CONTRACT.answer("revoke_subject", store.revoke_subject(here(&subject), None).await);
        CONTRACT.require(ended == 0, "`revoke_subject` counts no family that was over", format_args!("{ended}"));
    }
}

async fn a_family_ends_although_it_is_used(store: &impl RefreshStore) {
    let clause = "no use makes a family live longer than its absolute lifetime";
    let (begun, mut known) = Span::of(Known::begin(store, lived(&name("subject"), SHORT * 2, SHORT * 2))).await;
    lasts(CONTRACT, clause, begun, SHORT * 2, async || known.rotate(store).await == Rotation::Rotated).await;
    known.require_gone(store, clause).await;
}

async fn a_use_restarts_the_idle_lifetime(store: &impl RefreshStore) {
    let clause = "a rotation restarts the idle lifetime";
    let idle = SHORT * 2;
    decided(clause, async || {
        let (mut used, mut known) = Span::of(Known::begin(store, lived(&name("subject"), HOUR, idle))).await;
        for _ in 0..3 {
            sleep(idle / 2).await;
            let (rotated, answer) = Span::of(known.rotate(store)).await;
            if answer != Rotation::Rotated {
                let unused = rotated.to - used.from;
                CONTRACT.require(
                    unused + SLACK >= idle,
                    clause,
                    format_args!("`rotate` answers {answer:?} within {unused:?} for an idle lifetime of {idle:?}"),
                );
                return false;
            }
            used = rotated;
        }
        lasts(CONTRACT, clause, used, idle, async || known.find(store).await.is_some()).await;
        known.require_gone(store, clause).await;
        true
    })
    .await;
}
