//! Where users and their password hashes come from.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    sync::{Arc, PoisonError, RwLock},
};

use super::argon::StoredHash;
use crate::{error::BoxError, scope::Scope, verifier::Identity};

/// A user as a table knows them.
#[derive(Clone)]
pub struct User {
    identity: Identity,
    password_hash: Option<String>,
    disabled: bool,
}

impl User {
    /// A user who may log in as `identity` once a password hash is set.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self { identity, password_hash: None, disabled: false }
    }

    /// The password's hash as a PHC string: `$argon2id$v=19$m=19456,t=2,p=1$...`.
    #[must_use]
    pub fn with_password_hash(mut self, phc: impl Into<String>) -> Self {
        self.password_hash = Some(phc.into());
        self
    }

    /// A disabled user is refused like a wrong password is.
    #[must_use]
    pub fn with_disabled(mut self, disabled: bool) -> Self {
        self.disabled = disabled;
        self
    }

    /// Who this is and what they may have.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The stored hash. Do not log or print what this returns.
    #[must_use]
    pub fn password_hash(&self) -> Option<&str> {
        self.password_hash.as_deref()
    }

    pub(super) fn usable(self) -> Option<Self> {
        (!self.disabled).then_some(self)
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("identity", &self.identity)
            .field("disabled", &self.disabled)
            .finish_non_exhaustive()
    }
}

/// A table of users.
pub trait Users: Send + Sync + 'static {
    /// The user who logs in by this name, compared as the table does.
    fn find(&self, username: &str) -> impl Future<Output = Result<Option<User>, BoxError>> + Send;

    /// The user whom tokens call `subject`; asked at each refresh. Unless implemented, a subject is a username.
    fn find_subject(&self, subject: &str) -> impl Future<Output = Result<Option<User>, BoxError>> + Send {
        self.find(subject)
    }

    /// Replaces the hash of `user` by one of the same password with today's parameters. Replace only if the stored
    /// hash still is `user.password_hash()`: the password may have been changed meanwhile. The default keeps the old,
    /// and each right login then computes the new one for nothing: two hashes instead of one.
    fn update_password_hash(&self, user: &User, new: &str) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = (user, new);
        std::future::ready(Ok(()))
    }
}

impl<U: Users> Users for Arc<U> {
    fn find(&self, username: &str) -> impl Future<Output = Result<Option<User>, BoxError>> + Send {
        U::find(self, username)
    }

    fn find_subject(&self, subject: &str) -> impl Future<Output = Result<Option<User>, BoxError>> + Send {
        U::find_subject(self, subject)
    }

    fn update_password_hash(&self, user: &User, new: &str) -> impl Future<Output = Result<(), BoxError>> + Send {
        U::update_password_hash(self, user, new)
    }
}

/// Users in memory, for tests, examples and small fixed sets. Clones share the table.
#[derive(Clone, Debug, Default)]
pub struct MemoryUsers(Arc<RwLock<HashMap<String, User>>>);

impl MemoryUsers {
    /// Users by name, PHC string, and the scopes they may have.
    ///
    /// # Errors
    /// For a hash that cannot be read or costs too much, a malformed scope, or a name that is there twice.
    pub fn from_phc<'a>(users: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>) -> Result<Self, UsersError> {
        let table = Self::default();
        for (name, phc, scope) in users {
            if StoredHash::parse(phc).is_none() {
                return Err(UsersError(format!(
                    "the password hash of {name:?} is no Argon2 PHC string with m up to 262144, t up to 10, p up to 16"
                )));
            }
            let scope: Scope = scope.parse().map_err(|error| UsersError(format!("the scope of {name:?}: {error}")))?;
            let user = User::new(Identity::new(name).with_scope(scope)).with_password_hash(phc);
            if table.insert(name, user).is_some() {
                return Err(UsersError(format!("the user {name:?} is there twice: remove one")));
            }
        }
        Ok(table)
    }

    /// Adds or replaces a user, and returns the replaced one.
    pub fn insert(&self, username: &str, user: User) -> Option<User> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(username.to_owned(), user)
    }
}

impl Users for MemoryUsers {
    async fn find(&self, username: &str) -> Result<Option<User>, BoxError> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).get(username).cloned())
    }

    async fn find_subject(&self, subject: &str) -> Result<Option<User>, BoxError> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let is_subject = |user: &&User| user.identity.subject() == subject;
        // As a rule the subject is the name.
        let by_name = table.get(subject).filter(is_subject);
        Ok(by_name.or_else(|| table.values().find(is_subject)).cloned())
    }

    async fn update_password_hash(&self, user: &User, new: &str) -> Result<(), BoxError> {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for stored in table.values_mut() {
            if stored.identity.subject() == user.identity.subject() && stored.password_hash == user.password_hash {
                stored.password_hash = Some(new.to_owned());
            }
        }
        Ok(())
    }
}

/// A set of users that cannot work; the message names the user and the mend.
#[derive(Clone, Debug)]
pub struct UsersError(String);

impl fmt::Display for UsersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsersError {}

#[cfg(test)]
mod tests {
    use super::*;

    const PHC: &str = "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$4XHlkW01o5HKkdwRDbV9q8aKWen4PIr0is91zg2e36k";

    #[test]
    fn a_table_that_cannot_work_is_refused_with_the_name_and_never_the_hash() {
        let large = PHC.replace("m=64", "m=4194304");
        for (users, said) in [
            (vec![("alice", "wonderland123", "")], "the password hash of \"alice\""),
            (vec![("alice", PHC, ""), ("bob", &large, "")], "the password hash of \"bob\""),
            (vec![("alice", PHC, "a\"b")], "the scope of \"alice\""),
            (vec![("alice", PHC, ""), ("alice", PHC, "")], "\"alice\" is there twice"),
        ] {
            let error = MemoryUsers::from_phc(users).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
            assert!(!error.contains("wonderland123") && !error.contains("MDEy"), "{error}");
        }
    }

    #[tokio::test]
    async fn users_are_found_by_name_and_by_subject() {
        let users = MemoryUsers::from_phc([("alice", PHC, "items:read")]).unwrap();
        assert!(users.insert("bob", User::new(Identity::new("id-of-bob"))).is_none());
        let subject_of = |found: Result<Option<User>, BoxError>| Some(found.unwrap()?.identity().subject().to_owned());
        assert_eq!(subject_of(users.find("alice").await).as_deref(), Some("alice"));
        assert_eq!(subject_of(users.find("bob").await).as_deref(), Some("id-of-bob"));
        assert_eq!(subject_of(users.find("id-of-bob").await), None);
        assert_eq!(subject_of(users.find_subject("id-of-bob").await).as_deref(), Some("id-of-bob"));
        assert_eq!(subject_of(users.find_subject("bob").await), None);
        assert_eq!(subject_of(users.find("ALICE").await), None, "names are compared as they are");
    }

    /// A table that has what every table must have, and no more.
    struct Names;

    impl Users for Names {
        async fn find(&self, username: &str) -> Result<Option<User>, BoxError> {
            Ok((username == "alice").then(|| User::new(Identity::new("alice"))))
        }
    }

    #[tokio::test]
    async fn unless_told_otherwise_a_subject_is_a_name_and_hashes_stay() {
        assert!(Names.find_subject("alice").await.unwrap().is_some());
        assert!(Names.find_subject("bob").await.unwrap().is_none());
        assert!(Names.update_password_hash(&User::new(Identity::new("alice")), PHC).await.is_ok());
    }

    #[tokio::test]
    async fn what_is_in_an_arc_is_asked() {
        let users = Arc::new(MemoryUsers::default());
        users.insert("alice", User::new(Identity::new("id")).with_password_hash("old"));
        let alice = Users::find(&users, "alice").await.unwrap().unwrap();
        assert!(Users::find(&users, "id").await.unwrap().is_none());
        Users::update_password_hash(&users, &alice, "new").await.unwrap();
        let alice = Users::find_subject(&users, "id").await.unwrap().unwrap();
        assert_eq!(alice.password_hash(), Some("new"));
        assert!(Users::find_subject(&users, "alice").await.unwrap().is_none());
    }

    #[test]
    fn a_user_is_printed_without_the_hash() {
        let printed = format!("{:?}", User::new(Identity::new("alice")).with_password_hash(PHC).with_disabled(true));
        assert!(printed.contains("alice") && printed.contains("disabled: true"), "{printed}");
        assert!(!printed.contains("argon2id"), "{printed}");
    }

    #[tokio::test]
    async fn a_hash_that_changed_meanwhile_is_kept() {
        let users = MemoryUsers::default();
        let seen = User::new(Identity::new("alice")).with_password_hash("seen");
        users.insert("alice", seen.clone());
        users.insert("alice", User::new(Identity::new("alice")).with_password_hash("changed by its owner"));
        users.update_password_hash(&seen, "of the old password").await.unwrap();
        let now = users.find("alice").await.unwrap().unwrap();
        assert_eq!(now.password_hash(), Some("changed by its owner"));
    }
}
