//! The contract of [`RefreshStore`], as a single caller sees it.

use std::time::Duration;

use crate::support::{Contract, HOUR, LATE, SLACK, name, over, random, soon};
use tokio::time::sleep;
use tower_oauth2_password::store::{Family, FamilyId, Previous, RefreshStore, Rotation, SecretHash, SubjectRef};

pub(crate) const CONTRACT: Contract = Contract("RefreshStore");
pub(crate) const SERVER: &str = "https://login.example api";
/// More sessions than any check begins, but for the one that reaches it.
pub(crate) const LIMIT: usize = 100;

pub(crate) async fn check(store: &impl RefreshStore) {
    unknown_families_are_gone(store).await;
    families_are_kept_as_given(store).await;
    a_rotation_keeps_its_predecessor(store).await;
    a_mismatch_changes_nothing(store).await;
    families_are_independent(store).await;
    a_revoked_family_stays_gone(store).await;
    a_subject_is_revoked_whole_and_alone(store).await;
    late_calls_do_nothing(store).await;
    a_subject_belongs_to_its_server(store).await;
    the_end_of_a_subject_ends_logins_in_progress(store).await;
    the_oldest_sessions_go_first(store).await;
    sessions_are_listed_and_one_is_kept(store).await;
}

/// A subject of the server that the families of the checks belong to.
pub(crate) fn here(subject: &str) -> SubjectRef<'_> {
    SubjectRef::new(SERVER, subject)
}

/// A family in the store, and its current secret.
pub(crate) struct Known {
    pub(crate) id: FamilyId,
    pub(crate) current: SecretHash,
}

impl Known {
    pub(crate) async fn begin(store: &impl RefreshStore, family: Family) -> Known {
        let known = Known { id: FamilyId(random()), current: family.current };
        let begun = CONTRACT.answer("insert", store.insert(known.id, family, LIMIT, soon()).await);
        CONTRACT.require(begun, "a login that nobody ended begins a family", "`insert` returns false");
        known
    }

    pub(crate) async fn find(&self, store: &impl RefreshStore) -> Option<Family> {
        CONTRACT.answer("find", store.find(self.id, soon()).await)
    }

    /// Rotates with the current secret, whether or not the family still exists.
    pub(crate) async fn rotate(&mut self, store: &impl RefreshStore) -> Rotation {
        let next = secret();
        let rotation = rotate(store, self.id, Previous::new(self.current, Vec::new()), next).await;
        if rotation == Rotation::Rotated {
            self.current = next;
        }
        rotation
    }

    pub(crate) async fn require_gone(&mut self, store: &impl RefreshStore, clause: &str) {
        CONTRACT.require(self.find(store).await.is_none(), clause, "`find` finds it");
        for presented in [self.current, secret()] {
            let rotation = rotate(store, self.id, Previous::new(presented, Vec::new()), secret()).await;
            CONTRACT.require(rotation == Rotation::Gone, clause, format_args!("`rotate` answers {rotation:?}"));
        }
        CONTRACT.require(self.find(store).await.is_none(), clause, "`rotate` brought it back");
    }
}

pub(crate) fn secret() -> SecretHash {
    SecretHash(random())
}

pub(crate) fn family(subject: &str) -> Family {
    lived(subject, HOUR, HOUR)
}

pub(crate) fn lived(subject: &str, absolute: Duration, idle: Duration) -> Family {
    let mut family = Family::new(secret(), subject, absolute, idle);
    SERVER.clone_into(&mut family.session.server);
    family
}

pub(crate) async fn rotate(
    store: &impl RefreshStore,
    id: FamilyId,
    presented: Previous,
    successor: SecretHash,
) -> Rotation {
    CONTRACT.answer("rotate", store.rotate(id, presented, successor, soon()).await)
}

async fn unknown_families_are_gone(store: &impl RefreshStore) {
    let clause = "an unknown family is gone, and revoking it is no error";
    let mut unknown = Known { id: FamilyId(random()), current: secret() };
    CONTRACT.answer("revoke", store.revoke(unknown.id, soon()).await);
    unknown.require_gone(store, clause).await;
    let ended = CONTRACT.answer("revoke_subject", store.revoke_subject(here(&name("nobody")), None).await);
    CONTRACT.require(ended == 0, clause, format_args!("`revoke_subject` ended {ended} of nobody's"));
}

async fn families_are_kept_as_given(store: &impl RefreshStore) {
    let texts = ["plain", "", "a b:c|d\t\"'\\{}", "Straße 東京 🔑", "%_*?[a]"];
    for (n, text) in texts.into_iter().cycle().take(8).enumerate() {
        let mut given = family(&format!("{}{text}", name("subject")));
        // Eight secrets of 32 bytes cover every byte value, in case a store keeps them as text.
        given.current = SecretHash(std::array::from_fn(|at| (n * 32 + at) as u8));
        given.session.client_id = (n != 0).then(|| text.to_owned());
        given.session.security_stamp = (n != 2).then(|| text.to_owned());
        given.session.scope =
            ["", "a", "items:write items:read", "!#[]~"].get(n).and_then(|s| s.parse().ok()).unwrap_or_default();
        given.idle_ttl = HOUR / 2;
        given.age = Duration::from_secs(2);
        (given.session.id, given.session.auth_time) = (name("sid"), 1_700_000_000 + n as u64);
        given.session.label = (n != 3).then(|| text.to_owned());
        given.session.amr = vec!["pwd".to_owned(), text.to_owned()];
        given.session.claims.insert(text.to_owned(), vec![text; n].into());
        let known = Known::begin(store, given.clone()).await;
        let clause = "`find` returns what `insert` was given";
        let Some(found) = known.find(store).await else { CONTRACT.broken(clause, "nothing was found") };
        require_same(&given, &found, clause);
        CONTRACT.require(found.current == given.current, clause, "another current secret");
        CONTRACT.require(found.previous.is_none(), clause, "a predecessor before any rotation");
        // A store that counts whole milliseconds may lose one at each end.
        let age = given.age - Duration::from_millis(2);
        CONTRACT.require(found.age >= age, clause, format_args!("the age is {:?}", found.age));
        let again = known.find(store).await;
        CONTRACT.require(again.is_some(), "`find` does not use a family up", "it is gone");
    }
}

pub(crate) fn require_same(given: &Family, found: &Family, clause: &str) {
    let same = |name: &str, given: &dyn std::fmt::Debug, found: &dyn std::fmt::Debug| {
        let (given, found) = (format!("{given:?}"), format!("{found:?}"));
        CONTRACT.require(given == found, clause, format_args!("{name} was {given} and is {found}"));
    };
    same("idle_ttl", &given.idle_ttl, &found.idle_ttl);
    let (given, found) = (&given.session, &found.session);
    same("server", &given.server, &found.server);
    same("subject", &given.subject, &found.subject);
    same("client_id", &given.client_id, &found.client_id);
    same("security_stamp", &given.security_stamp, &found.security_stamp);
    let same_scope = given.scope == found.scope;
    CONTRACT.require(same_scope, clause, format_args!("scope was {} and is {}", given.scope, found.scope));
    CONTRACT.require(given == found, clause, format_args!("session was {given:?} and is {found:?}"));
}

async fn a_rotation_keeps_its_predecessor(store: &impl RefreshStore) {
    let clause = "a rotation makes the successor current and keeps the presented secret with what was sealed";
    let mut given = family(&name("subject"));
    given.session.client_id = Some("web".to_owned());
    given.session.security_stamp = Some("1".to_owned());
    given.session.scope = "a b".parse().unwrap_or_default();
    let mut known = Known::begin(store, given.clone()).await;
    for sealed in [(0..=255).collect::<Vec<u8>>(), Vec::new(), vec![0; 32]] {
        let (presented, next) = (known.current, secret());
        let rotation = rotate(store, known.id, Previous::new(presented, sealed.clone()), next).await;
        CONTRACT.require(rotation == Rotation::Rotated, clause, format_args!("`rotate` answers {rotation:?}"));
        known.current = next;
        let Some(found) = known.find(store).await else { CONTRACT.broken(clause, "the family is gone") };
        require_same(&given, &found, clause);
        CONTRACT.require(found.current == next, clause, "the successor is not current");
        let Some(previous) = found.previous else { CONTRACT.broken(clause, "there is no predecessor") };
        CONTRACT.require(previous.secret == presented, clause, "the predecessor is another");
        CONTRACT.require(previous.sealed_successor == sealed, clause, "what was sealed came back changed");
    }
}

async fn a_mismatch_changes_nothing(store: &impl RefreshStore) {
    let clause = "a secret that is not current is a mismatch and leaves the family as it is";
    let mut known = Known::begin(store, family(&name("subject"))).await;
    let first = known.current;
    rotate_or_break(&mut known, store, clause).await;
    for presented in [first, secret()] {
        let rotation = rotate(store, known.id, Previous::new(presented, vec![1]), secret()).await;
        CONTRACT.require(rotation == Rotation::Mismatch, clause, format_args!("`rotate` answers {rotation:?}"));
        let Some(found) = known.find(store).await else { CONTRACT.broken(clause, "the family is gone") };
        CONTRACT.require(found.current == known.current, clause, "the current secret is another");
        let kept =
            found.previous.is_some_and(|previous| previous.secret == first && previous.sealed_successor.is_empty());
        CONTRACT.require(kept, clause, "the predecessor is another");
    }
    rotate_or_break(&mut known, store, clause).await;
}

async fn rotate_or_break(known: &mut Known, store: &impl RefreshStore, clause: &str) {
    let rotation = known.rotate(store).await;
    CONTRACT.require(rotation == Rotation::Rotated, clause, format_args!("the current one is answered {rotation:?}"));
}

async fn families_are_independent(store: &impl RefreshStore) {
    let clause = "families are independent";
    let mut one = Known::begin(store, family(&name("subject"))).await;
    let mut bytes = one.id.0;
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    let other = Known { id: FamilyId(bytes), current: secret() };
    let begun = Family::new(other.current, name("subject"), HOUR, HOUR);
    CONTRACT.answer("insert", store.insert(other.id, begun, LIMIT, soon()).await);
    rotate_or_break(&mut one, store, clause).await;
    CONTRACT.answer("revoke", store.revoke(one.id, soon()).await);
    let untouched = other.find(store).await.is_some_and(|found| found.current == other.current);
    CONTRACT.require(untouched, clause, "one was rotated and revoked, and another with it");
}

async fn a_revoked_family_stays_gone(store: &impl RefreshStore) {
    let clause = "a revoked family stays gone";
    for rotations in 0..2 {
        let mut known = Known::begin(store, family(&name("subject"))).await;
        for _ in 0..rotations {
            rotate_or_break(&mut known, store, clause).await;
        }
        CONTRACT.answer("revoke", store.revoke(known.id, soon()).await);
        known.require_gone(store, clause).await;
        CONTRACT.answer("revoke", store.revoke(known.id, soon()).await);
        known.require_gone(store, clause).await;
    }
}

async fn a_subject_is_revoked_whole_and_alone(store: &impl RefreshStore) {
    let clause = "`revoke_subject` ends all families of this subject alone, and counts those that were there";
    let subject = name("subject");
    let mut own = Vec::new();
    for _ in 0..5 {
        own.push(Known::begin(store, family(&subject)).await);
    }
    let mut others = Vec::new();
    for other in [format!("{subject} "), subject.to_uppercase(), subject.chars().skip(1).collect()] {
        others.push(Known::begin(store, family(&other)).await);
    }
    if let [first, second, ..] = own.as_mut_slice() {
        CONTRACT.answer("revoke", store.revoke(first.id, soon()).await);
        rotate_or_break(second, store, clause).await;
    }
    for expected in [4, 0] {
        let ended = CONTRACT.answer("revoke_subject", store.revoke_subject(here(&subject), None).await);
        CONTRACT.require(ended == expected, clause, format_args!("of {expected} it counted {ended}"));
        for known in &mut own {
            known.require_gone(store, clause).await;
        }
    }
    for known in &mut others {
        CONTRACT.require(known.find(store).await.is_some(), clause, "another subject's family is gone");
    }
    let mut later = Known::begin(store, family(&subject)).await;
    rotate_or_break(&mut later, store, "a subject whose families were ended can log in again").await;
}

async fn late_calls_do_nothing(store: &impl RefreshStore) {
    let mut never = Known { id: FamilyId(random()), current: secret() };
    let late = Family::new(never.current, name("subject"), HOUR, HOUR);
    CONTRACT.require_late("insert", &store.insert(never.id, late, LIMIT, over()).await);
    never.require_gone(store, LATE).await;

    let mut known = Known::begin(store, family(&name("subject"))).await;
    let late = store.rotate(known.id, Previous::new(known.current, Vec::new()), secret(), over()).await;
    CONTRACT.require_late("rotate", &late);
    CONTRACT.require_late("find", &store.find(known.id, over()).await);
    CONTRACT.require_late("revoke", &store.revoke(known.id, over()).await);
    rotate_or_break(&mut known, store, LATE).await;
}

async fn a_subject_belongs_to_its_server(store: &impl RefreshStore) {
    let clause = "a subject of one server is another than the same subject of another server";
    let subject = name("subject");
    let own = Known::begin(store, family(&subject)).await;
    let mut elsewhere = family(&subject);
    elsewhere.session.server = format!("{SERVER} other");
    let elsewhere = Known::begin(store, elsewhere).await;
    let ended = CONTRACT.answer("revoke_subject", store.revoke_subject(here(&subject), None).await);
    CONTRACT.require(ended == 1, clause, format_args!("{ended} sessions were ended"));
    CONTRACT.require(own.find(store).await.is_none(), clause, "its family is there");
    CONTRACT.require(elsewhere.find(store).await.is_some(), clause, "the other's family is gone");
}

async fn the_end_of_a_subject_ends_logins_in_progress(store: &impl RefreshStore) {
    let clause = "a login that was verified before the subject was ended begins no family";
    let subject = name("subject");
    for _ in 0..2 {
        CONTRACT.answer("revoke_subject", store.revoke_subject(here(&subject), None).await);
        let mut late = Known { id: FamilyId(random()), current: secret() };
        let mut verified_before = family(&subject);
        (verified_before.current, verified_before.age) = (late.current, Duration::from_secs(20));
        let begun = CONTRACT.answer("insert", store.insert(late.id, verified_before, LIMIT, soon()).await);
        CONTRACT.require(!begun, clause, "`insert` returns true");
        late.require_gone(store, clause).await;
        sleep(SLACK).await;
        Known::begin(store, family(&subject)).await;
    }
}

async fn the_oldest_sessions_go_first(store: &impl RefreshStore) {
    let clause = "a subject that has as many sessions as it may loses its oldest, and nobody else's";
    let (subject, other) = (name("subject"), Known::begin(store, family(&name("subject"))).await);
    let mut begun = Vec::new();
    for _ in 0..5 {
        let known = Known { id: FamilyId(random()), current: secret() };
        let mut family = family(&subject);
        family.current = known.current;
        CONTRACT.answer("insert", store.insert(known.id, family, 3, soon()).await);
        begun.push(known);
        // Sessions of one millisecond have no order.
        sleep(Duration::from_millis(5)).await;
    }
    let mut there = Vec::new();
    for known in &begun {
        there.push(known.find(store).await.is_some());
    }
    CONTRACT.require(there == [false, false, true, true, true], clause, format_args!("{there:?} are there"));
    CONTRACT.require(other.find(store).await.is_some(), clause, "another subject's is gone");

    let clause = "sessions that are over do not count among those that a subject may have";
    let subject = name("subject");
    let first = Known::begin(store, family(&subject)).await;
    for _ in 0..5 {
        sleep(Duration::from_millis(5)).await;
        let over = Known { id: FamilyId(random()), current: secret() };
        CONTRACT.answer("insert", store.insert(over.id, family(&subject), 2, soon()).await);
        CONTRACT.answer("revoke", store.revoke(over.id, soon()).await);
        CONTRACT.require(first.find(store).await.is_some(), clause, "the oldest is gone");
    }
}

async fn sessions_are_listed_and_one_is_kept(store: &impl RefreshStore) {
    let clause = "`list` returns the families of this subject, the newest first, as `find` does";
    let subject = name("subject");
    let mut begun = Vec::new();
    for _ in 0..4 {
        begun.push(Known::begin(store, family(&subject)).await);
        // Sessions of one millisecond have no order.
        sleep(Duration::from_millis(5)).await;
    }
    let mut elsewhere = family(&subject);
    elsewhere.session.server = format!("{SERVER} other");
    Known::begin(store, elsewhere).await;
    let [first, revoked, kept, newest] = begun.as_mut_slice() else { return };
    CONTRACT.answer("revoke", store.revoke(revoked.id, soon()).await);
    rotate_or_break(first, store, clause).await;
    let listed = CONTRACT.answer("list", store.list(here(&subject), soon()).await);
    let ids: Vec<FamilyId> = listed.iter().map(|(id, _)| *id).collect();
    CONTRACT.require(ids == [newest.id, kept.id, first.id], clause, format_args!("it listed {}", ids.len()));
    let rotated = listed.last().is_some_and(|(_, family)| family.current == first.current && family.previous.is_some());
    CONTRACT.require(rotated, clause, "a rotation is not seen");
    CONTRACT.require_late("list", &store.list(here(&subject), over()).await);

    let clause = "`revoke_subject` keeps the family that is excepted, and counts the others";
    let ended = CONTRACT.answer("revoke_subject", store.revoke_subject(here(&subject), Some(kept.id)).await);
    CONTRACT.require(ended == 2, clause, format_args!("of 2 it counted {ended}"));
    first.require_gone(store, clause).await;
    newest.require_gone(store, clause).await;
    rotate_or_break(kept, store, clause).await;
    let listed = CONTRACT.answer("list", store.list(here(&subject), soon()).await);
    CONTRACT.require(listed.len() == 1, clause, format_args!("{} are listed", listed.len()));
    let ended = CONTRACT.answer("revoke_subject", store.revoke_subject(here(&subject), None).await);
    CONTRACT.require(ended == 1, clause, "it cannot be revoked later");
}
