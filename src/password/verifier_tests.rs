use std::sync::{Arc, Mutex};

use super::*;
use crate::{
    password::{params::Argon2Params, users::MemoryUsers},
    scope::Scope,
    verifier::Identity,
};

const PASSWORD: &str = "wonderland123";

fn small() -> Argon2Params {
    Argon2Params::new(64, 1, 1).unwrap()
}

fn pool() -> HashingPool {
    HashingPool::new().with_threads(1).with_params(small())
}

async fn phc(params: Argon2Params) -> String {
    HashingPool::new().with_threads(1).with_params(params).hash(PASSWORD.into(), None).await.unwrap()
}

fn alice() -> StoredUser {
    StoredUser::new(Identity::new("id-of-alice").with_scope("items:read".parse().unwrap()))
}

#[derive(Debug, thiserror::Error)]
#[error("db.internal:5432 refused the connection")]
struct Away;

/// One user, `alice`, and what was asked of the table.
#[derive(Clone, Default)]
struct Table {
    alice: Option<StoredUser>,
    is_away: bool,
    cannot_write: bool,
    written: Arc<Mutex<Vec<(String, String)>>>,
}

impl Table {
    fn of(user: StoredUser) -> Self {
        Self { alice: Some(user), ..Self::default() }
    }

    fn written(&self) -> Vec<(String, String)> {
        self.written.lock().unwrap().clone()
    }
}

impl Users for Table {
    async fn find(&self, username: &str) -> Result<Option<StoredUser>, BoxError> {
        if self.is_away { Err(Away.into()) } else { Ok(self.alice.clone().filter(|_| username == "alice")) }
    }

    async fn find_subject(&self, subject: &str) -> Result<Option<StoredUser>, BoxError> {
        if self.is_away {
            return Err(Away.into());
        }
        Ok(self.alice.clone().filter(|user| user.identity().subject() == subject))
    }

    async fn update_password_hash(&self, user: &StoredUser, new: &str) -> Result<(), BoxError> {
        // No database answers at once.
        tokio::task::yield_now().await;
        self.written.lock().unwrap().push((user.password_hash().unwrap().to_owned(), new.to_owned()));
        if self.cannot_write { Err(Away.into()) } else { Ok(()) }
    }
}

fn granted(verdict: Verdict) -> Option<(String, Scope)> {
    match verdict {
        Verdict::Granted(identity) => Some((identity.subject().to_owned(), identity.scope().clone())),
        Verdict::Denied => None,
    }
}

/// The verdict, and how many hashes it took.
async fn attempt(table: &Table, username: &str, password: &str) -> (bool, u64) {
    let pool = pool();
    let verifier = PasswordVerifier::new(table.clone()).with_pool(pool.clone());
    let verdict = verifier.verify(Login::new(username, password)).await.unwrap();
    (granted(verdict).is_some(), pool.stats().hashed)
}

#[tokio::test]
async fn every_attempt_computes_exactly_one_hash() {
    let hash = phc(small()).await;
    let table = Table::of(alice().with_password_hash(&hash));
    let long = "x".repeat(1 << 20);
    assert_eq!(attempt(&table, "alice", PASSWORD).await, (true, 1));
    for (username, password) in [
        ("alice", "Wonderland123"),
        ("alice", ""),
        ("alice", "wonderland123\0"),
        ("alice", "wonderland123\0more"),
        ("alice", "wonderland123 "),
        ("alice", &long),
        ("Alice", PASSWORD),
        ("mallory", PASSWORD),
        ("mallory", ""),
        ("mallory", "\0"),
        ("mallory", &long),
        ("", ""),
    ] {
        assert_eq!(attempt(&table, username, password).await, (false, 1), "{username:?} {password:?}");
    }
    let too_large = hash.replace("m=64,", "m=4194304,");
    assert_ne!(too_large, hash);
    for (case, user) in [
        ("disabled", alice().with_password_hash(&hash).with_disabled(true)),
        ("no password set", alice()),
        ("empty hash", alice().with_password_hash("")),
        ("no PHC string", alice().with_password_hash(PASSWORD)),
        ("bcrypt", alice().with_password_hash("$2b$12$KIXQ4lQe0gN1bPzGkCy5o.6jFsgTgvW0cL7kJtqVqQyYt1F1l0p7e")),
        ("asks for 4 GiB", alice().with_password_hash(too_large)),
    ] {
        let table = Table::of(user);
        for password in [PASSWORD, "wrong", ""] {
            assert_eq!(attempt(&table, "alice", password).await, (false, 1), "{case}, {password:?}");
        }
        assert!(table.written().is_empty(), "{case}");
    }
}

#[tokio::test]
async fn a_password_that_no_login_can_send_is_never_right_and_never_hashed() {
    let longest = "x".repeat(4_096);
    assert!(pool().hash(longest.as_str().into(), None).await.is_ok());
    for password in ["", "\0", "won\0derland", "new\nline", &format!("{longest}x")] {
        assert_eq!(pool().hash(password.into(), None).await.unwrap_err().status(), 400, "{password:?}");
        let hash = pool().hash_for(password.into(), None).await.unwrap();
        assert_eq!(attempt(&Table::of(alice().with_password_hash(hash)), "alice", password).await, (false, 1));
    }
}

#[tokio::test]
async fn a_correct_password_grants_what_the_table_says() {
    let hash = phc(small()).await;
    let verifier = PasswordVerifier::new(Table::of(alice().with_password_hash(hash))).with_pool(pool());
    let verdict = verifier.verify(Login::new("alice", PASSWORD)).await.unwrap();
    assert_eq!(granted(verdict), Some(("id-of-alice".to_owned(), "items:read".parse().unwrap())));
}

#[tokio::test]
async fn an_outdated_hash_is_replaced_after_a_correct_password_only() {
    let old = phc(Argon2Params::new(8, 1, 1).unwrap()).await;
    let table = Table::of(alice().with_password_hash(&old));
    for wrong in ["wrong", "", "wonderland123\0"] {
        assert_eq!(attempt(&table, "alice", wrong).await, (false, 1));
        assert!(table.written().is_empty(), "{wrong:?}");
    }
    assert_eq!(attempt(&table, "alice", PASSWORD).await, (true, 2));
    let written = table.written();
    let [(before, new)] = written.as_slice() else { panic!("{} writes", written.len()) };
    assert_eq!(*before, old);
    let renewed = Table::of(alice().with_password_hash(new));
    assert_eq!(attempt(&renewed, "alice", PASSWORD).await, (true, 1));
    assert!(renewed.written().is_empty(), "a current hash stays");
}

#[tokio::test]
async fn a_hash_that_cannot_be_written_denies_nobody() {
    let old = phc(Argon2Params::new(8, 1, 1).unwrap()).await;
    let table = Table { cannot_write: true, ..Table::of(alice().with_password_hash(old)) };
    assert_eq!(attempt(&table, "alice", PASSWORD).await, (true, 2));
    assert_eq!(table.written().len(), 1);
}

#[tokio::test]
async fn memory_users_keep_the_replaced_hash() {
    let old = phc(Argon2Params::new(8, 1, 1).unwrap()).await;
    let users = MemoryUsers::from_phc([("alice", old.as_str(), "items:read"), ("bob", old.as_str(), "")]).unwrap();
    let pool = pool();
    let verifier = PasswordVerifier::new(users.clone()).with_pool(pool.clone());
    for hashed in [2, 3] {
        assert!(granted(verifier.verify(Login::new("alice", PASSWORD)).await.unwrap()).is_some());
        assert_eq!(pool.stats().hashed, hashed);
    }
    let hash_of = async |name| users.find(name).await.unwrap().unwrap().password_hash().unwrap().to_owned();
    assert_ne!(hash_of("alice").await, old);
    assert_eq!(hash_of("bob").await, old);
}

#[tokio::test]
async fn an_error_of_the_table_is_returned() {
    let table = Table { is_away: true, ..Table::default() };
    let verifier = PasswordVerifier::new(table).with_pool(pool());
    let by_login = verifier.verify(Login::new("alice", PASSWORD)).await.unwrap_err();
    let by_subject = verifier.verify_subject("id-of-alice").await.unwrap_err();
    for error in [by_login, by_subject] {
        assert!(error.is::<Away>(), "{error:?}");
    }
}

#[tokio::test]
async fn a_subject_is_granted_while_its_user_is_enabled() {
    let ask = async |user: StoredUser, subject: &str| {
        let pool = pool();
        let verifier = PasswordVerifier::new(Table::of(user)).with_pool(pool.clone());
        let verdict = verifier.verify_subject(subject).await.unwrap();
        assert_eq!(pool.stats().hashed, 0);
        granted(verdict)
    };
    let granted_as = Some(("id-of-alice".to_owned(), "items:read".parse().unwrap()));
    assert_eq!(ask(alice().with_password_hash("any"), "id-of-alice").await, granted_as);
    assert_eq!(ask(alice(), "id-of-alice").await, granted_as, "who logs in elsewhere needs no password here");
    assert_eq!(ask(alice().with_disabled(true), "id-of-alice").await, None);
    assert_eq!(ask(alice(), "alice").await, None, "a username is not a subject");
    assert_eq!(ask(alice(), "").await, None);
}

#[tokio::test]
async fn debug_output_holds_no_hash_and_no_password() {
    let hash = phc(small()).await;
    let user = alice().with_password_hash(&hash);
    let users = MemoryUsers::from_phc([("alice", hash.as_str(), "")]).unwrap();
    let verifier = PasswordVerifier::new(users).with_pool(pool());
    let printed = format!("{user:?} {verifier:?} {:?}", Login::new("alice", PASSWORD));
    assert!(!printed.contains("argon2id") && !printed.contains(PASSWORD), "{printed}");
}

/// A scheme whose rows are `old$` and the password. It says that any password is right that nobody has a hash for.
#[derive(Clone, Debug, Default)]
struct Old(Arc<Mutex<Vec<String>>>);

impl HashSchemes for Old {
    fn read(&self, username: &str, stored: Option<&str>) -> Option<Result<HashCheck, &'static str>> {
        let log = self.0.clone();
        let name = username.to_owned();
        match stored.map(str::to_owned) {
            Some(row) if row.starts_with("$argon2") => None,
            Some(row) if row.starts_with("phc$") => Some(HashCheck::argon2(&row[3..])),
            Some(row) if row.starts_with("old$") => Some(Ok(HashCheck::new(64, move |password| {
                log.lock().unwrap().push("checked".to_owned());
                row[4..] == *password
            }))),
            Some(_) => Some(Err("it is not old")),
            None => Some(Ok(HashCheck::new(u64::MAX, move |_| {
                log.lock().unwrap().push(format!("wasted on {name}"));
                true
            }))),
        }
    }
}

/// The verdict, how many hashes it took, and what the scheme did.
async fn attempt_with_old(table: &Table, username: &str, password: &str) -> (bool, u64, Vec<String>) {
    let (pool, old) = (pool(), Old::default());
    let verifier = PasswordVerifier::new(table.clone()).with_pool(pool.clone()).with_old_hashes(old.clone());
    let verdict = verifier.verify(Login::new(username, password)).await.unwrap();
    (granted(verdict).is_some(), pool.stats().hashed, old.0.lock().unwrap().clone())
}

#[tokio::test]
async fn an_old_hash_is_replaced_after_its_right_password() {
    let table = Table::of(alice().with_password_hash("old$wonderland123"));
    for wrong in ["guess", "", "wonderland123\0", &"x".repeat(1 << 20)] {
        assert_eq!(attempt_with_old(&table, "alice", wrong).await, (false, 1, vec!["checked".to_owned()]));
    }
    assert!(table.written().is_empty());
    assert_eq!(attempt_with_old(&table, "alice", PASSWORD).await, (true, 2, vec!["checked".to_owned()]));
    let (before, new) = table.written().remove(0);
    assert!(before == "old$wonderland123" && new.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{before} {new}");
    let renewed = Table::of(alice().with_password_hash(new));
    assert_eq!(attempt_with_old(&renewed, "alice", PASSWORD).await, (true, 1, vec![]));
    assert!(renewed.written().is_empty());
}

#[tokio::test]
async fn an_argon2_hash_in_a_row_of_another_form_is_replaced() {
    let row = format!("phc{}", phc(small()).await);
    let table = Table::of(alice().with_password_hash(&row));
    assert_eq!(attempt_with_old(&table, "alice", "guess").await, (false, 1, vec![]));
    assert_eq!(attempt_with_old(&table, "alice", PASSWORD).await, (true, 2, vec![]));
    assert_eq!(table.written().remove(0).0, row);
}

#[tokio::test]
async fn a_password_that_no_login_can_send_is_never_right_by_an_old_hash() {
    let longest = "x".repeat(4_096);
    for (password, right) in [(longest.as_str(), true), (&format!("{longest}x"), false), ("", false), ("\0", false)] {
        let table = Table::of(alice().with_password_hash(format!("old${password}")));
        assert_eq!(attempt_with_old(&table, "alice", password).await.0, right, "{password:?}");
    }
}

#[tokio::test]
async fn a_user_without_a_hash_costs_what_the_scheme_says_and_never_logs_in() {
    let of_alice = vec!["wasted on alice".to_owned()];
    for (case, user) in [
        ("disabled", alice().with_password_hash("old$wonderland123").with_disabled(true)),
        ("no password set", alice()),
        ("unknown form", alice().with_password_hash("new$wonderland123")),
        ("malformed", alice().with_password_hash("phc$argon2id$")),
        ("malformed Argon2", alice().with_password_hash("$argon2id$v=19$m=64")),
    ] {
        let table = Table::of(user);
        assert_eq!(attempt_with_old(&table, "alice", PASSWORD).await, (false, 1, of_alice.clone()), "{case}");
        assert!(table.written().is_empty(), "{case}");
    }
    let nobody = attempt_with_old(&Table::default(), "mallory", PASSWORD).await;
    assert_eq!(nobody, (false, 1, vec!["wasted on mallory".to_owned()]));
}

#[tokio::test]
async fn a_check_that_panics_fails_alone() {
    #[derive(Debug)]
    struct Panicking;
    impl HashSchemes for Panicking {
        fn read(&self, _: &str, _: Option<&str>) -> Option<Result<HashCheck, &'static str>> {
            Some(Ok(HashCheck::new(1, |_| panic!("on purpose"))))
        }
    }
    let pool = pool();
    let verifier = PasswordVerifier::new(Table::default()).with_pool(pool.clone()).with_old_hashes(Panicking);
    assert!(verifier.verify(Login::new("alice", PASSWORD)).await.is_err());
    assert!(pool.hash(PASSWORD.into(), None).await.is_ok());
}

#[cfg(feature = "unicode")]
#[tokio::test]
async fn a_password_is_right_in_every_spelling() {
    const NFC: &str = "zo\u{eb} in wonderland";
    const NFD: &str = "zoe\u{308} in wonderland";
    let as_sent = pool();
    let pool = pool().with_nfc_passwords();
    let try_in = async |table: &Table, password: &str| {
        let verifier = PasswordVerifier::new(table.clone()).with_pool(pool.clone());
        granted(verifier.verify(Login::new("alice", password)).await.unwrap()).is_some()
    };
    let hashed_in_nfc = pool.hash(NFD.into(), None).await.unwrap();
    let hashed_before = as_sent.hash(NFD.into(), None).await.unwrap();
    for (hash, password, right, replaced) in [
        (&hashed_in_nfc, NFC, true, false),
        (&hashed_in_nfc, NFD, true, false),
        (&hashed_in_nfc, "zoe in wonderland", false, false),
        (&hashed_before, NFD, true, true),
        (&hashed_before, NFC, false, false),
    ] {
        let table = Table::of(alice().with_password_hash(hash));
        assert_eq!(try_in(&table, password).await, right, "{password:?}");
        let written = table.written();
        assert_eq!(written.len(), usize::from(replaced), "{password:?}");
        if let Some((_, new)) = written.first() {
            assert!(as_sent.verify(NFC.into(), Some(new), None).await.unwrap(), "the new hash is that of the NFC");
        }
    }
    assert!(
        !as_sent.verify(NFD.into(), Some(&hashed_in_nfc), None).await.unwrap(),
        "the default takes it as it was sent"
    );
}

#[cfg(feature = "unicode")]
#[tokio::test]
async fn a_password_that_was_not_sent_in_nfc_costs_everybody_two_hashes() {
    let table = Table::of(alice().with_password_hash("old$zo\u{eb}"));
    for (name, password, right, hashes) in [
        ("alice", "zo\u{eb}?", false, 1),
        ("alice", "zoe\u{308}?", false, 2),
        ("mallory", "zo\u{eb}", false, 1),
        ("mallory", "zoe\u{308}", false, 2),
        ("alice", "zoe\u{308}", true, 1),
    ] {
        let (pool, old) = (pool().with_nfc_passwords(), Old::default());
        let verifier = PasswordVerifier::new(table.clone()).with_pool(pool).with_old_hashes(old.clone());
        let verdict = verifier.verify(Login::new(name, password)).await.unwrap();
        assert_eq!((granted(verdict).is_some(), old.0.lock().unwrap().len()), (right, hashes), "{name} {password:?}");
    }
}
