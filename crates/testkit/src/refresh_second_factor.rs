//! What a second factor needs of a [`RefreshStore`]: logins that wait for their second step, and trusted devices, are families
//! of servers of their own, and what the first step knows is in the claims.

use std::time::Duration;

use crate::{
    refresh::{CONTRACT, Known, LIMIT, SERVER, family, here, lived, require_same},
    support::{SLACK, Span, name, random, soon},
};
use tokio::time::sleep;
use tower_oauth2_password::store::{Family, FamilyId, RefreshStore, SubjectRef};

/// How many logins of a subject may wait.
const MOST_PENDING: usize = 10;

pub(crate) async fn check(store: &impl RefreshStore) {
    what_the_first_step_knows_comes_back(store).await;
    logins_that_wait_and_sessions_are_counted_apart(store).await;
    each_kind_ends_alone(store).await;
    lifetimes_of_minutes_and_months_are_kept(store).await;
}

/// The server that the logins of [`SERVER`] wait at, and that of its trusted devices.
fn servers() -> [String; 2] {
    ["second factor", "trusted devices"].map(|kind| format!("{SERVER}\n{kind}"))
}

fn of_server(server: &str, subject: &str) -> Family {
    let mut family = family(subject);
    server.clone_into(&mut family.session.server);
    family
}

async fn what_the_first_step_knows_comes_back(store: &impl RefreshStore) {
    let clause = "for a second factor, claims of two kilobytes and of any JSON come back as they were given";
    let [waiting, _] = servers();
    let mut given = of_server(&waiting, &name("subject"));
    let mut inner = given.session.claims.clone();
    inner.insert("tenant".to_owned(), ().into());
    inner.insert("größe\n\0".to_owned(), 0.5.into());
    inner.insert("most".to_owned(), u64::MAX.into());
    inner.insert("least".to_owned(), i64::MIN.into());
    inner.insert(String::new(), vec![inner.clone(), given.session.claims.clone()].into());
    let claims = &mut given.session.claims;
    claims.insert("claims".to_owned(), inner.into());
    claims.insert("requested".to_owned(), ().into());
    claims.insert("without_refresh_token".to_owned(), false.into());
    claims.insert("long".to_owned(), "x".repeat(1_700).into());
    let known = Known::begin(store, given.clone()).await;
    let Some(found) = known.find(store).await else { CONTRACT.broken(clause, "nothing was found") };
    require_same(&given, &found, clause);
}

async fn logins_that_wait_and_sessions_are_counted_apart(store: &impl RefreshStore) {
    let clause = "for a second factor, ten logins of a subject wait: one more ends the oldest, and no session";
    let ([waiting, _], subject) = (servers(), name("subject"));
    let session = Known::begin(store, family(&subject)).await;
    let mut begun = Vec::new();
    for _ in 0..=MOST_PENDING {
        // Logins of one millisecond have no order.
        sleep(Duration::from_millis(5)).await;
        begun.push(begin(store, of_server(&waiting, &subject), MOST_PENDING).await);
    }
    let mut there = Vec::new();
    for login in &begun {
        there.push(login.find(store).await.is_some());
    }
    let newest = there.iter().skip(1).all(|there| *there) && there.first() == Some(&false);
    CONTRACT.require(newest, clause, format_args!("{there:?} are there"));
    CONTRACT.require(session.find(store).await.is_some(), clause, "the session is gone");

    let clause = "for a second factor, a session that begins ends no login that waits";
    begin(store, family(&subject), 2).await;
    for login in begun.iter().skip(1) {
        CONTRACT.require(login.find(store).await.is_some(), clause, "one is gone");
    }
    CONTRACT.require(session.find(store).await.is_some(), clause, "the first session is gone");
}

async fn begin(store: &impl RefreshStore, family: Family, limit: usize) -> Known {
    let known = Known { id: FamilyId(random()), current: family.current };
    CONTRACT.answer("insert", store.insert(known.id, family, limit, soon()).await);
    known
}

async fn each_kind_ends_alone(store: &impl RefreshStore) {
    let clause = "for a second factor, the end of logins that wait, of devices or of sessions ends nothing else";
    let ([waiting, devices], subject) = (servers(), name("subject"));
    let of = |server| SubjectRef::new(server, &subject);
    for ended in [of(&waiting), of(&devices), here(&subject)] {
        let mut begun = Vec::new();
        for server in [&waiting, &devices, SERVER] {
            begun.push((server, begin(store, of_server(server, &subject), LIMIT).await));
        }
        let count = CONTRACT.answer("revoke_subject", store.revoke_subject(ended, None).await);
        CONTRACT.require(count == 1, clause, format_args!("{count} were ended"));
        for (server, known) in &begun {
            let there = known.find(store).await.is_some();
            CONTRACT.require(there == (*server != ended.server), clause, format_args!("{server:?}: {there}"));
        }
        for server in [of(&waiting), of(&devices), here(&subject)] {
            CONTRACT.answer("revoke_subject", store.revoke_subject(server, None).await);
        }
        // A login of the same moment counts as before.
        sleep(SLACK).await;
    }
}

async fn lifetimes_of_minutes_and_months_are_kept(store: &impl RefreshStore) {
    let clause = "for a second factor, a login waits for five minutes, and a device is trusted for up to a year";
    let day = Duration::from_secs(86_400);
    for lifetime in [Duration::from_secs(300), 30 * day, 365 * day] {
        let (begun, known) = Span::of(Known::begin(store, lived(&name("subject"), lifetime, lifetime))).await;
        let (found_at, found) = Span::of(known.find(store)).await;
        let Some(found) = found else { CONTRACT.broken(clause, format_args!("gone at once, for {lifetime:?}")) };
        let (_, most) = begun.until(found_at);
        let left = found.absolute_ttl;
        let kept = left <= lifetime && left + most >= lifetime && found.idle_ttl == lifetime;
        CONTRACT.require(kept, clause, format_args!("{left:?} are left of {lifetime:?}"));
    }
}
