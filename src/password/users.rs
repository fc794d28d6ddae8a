//! Users and their password hashes.

use std::{collections::HashMap, future::Future, sync::Arc};

use super::hash::StoredHash;
use crate::error::{BoxError, InvalidConfig};
use crate::sync::{RwLock, read, write};
use crate::{scope::Scope, secret::debug_only, verifier::Identity};

/// A user in a table.
///
/// ```
/// use tower_oauth2_password::{Identity, StoredUser};
///
/// let user = StoredUser::new(Identity::new("alice")).with_password_hash("$argon2id$v=19$m=19456,t=2,p=1$...");
/// assert_eq!(user.identity().subject(), "alice");
/// assert!(!format!("{user:?}").contains("argon2id"));
/// ```
#[derive(Clone)]
#[must_use]
pub struct StoredUser {
    identity: Identity,
    password_hash: Option<String>,
    disabled: bool,
}

impl StoredUser {
    /// A user without a password hash. Nobody can log in until there is one.
    pub fn new(identity: Identity) -> Self {
        Self { identity, password_hash: None, disabled: false }
    }

    /// Sets the hash of the password, as a PHC string: `$argon2id$v=19$m=19456,t=2,p=1$...`.
    pub fn with_password_hash(self, phc: impl Into<String>) -> Self {
        Self { password_hash: Some(phc.into()), ..self }
    }

    /// A disabled user gets the same answer as a wrong password.
    pub fn with_disabled(self, disabled: bool) -> Self {
        Self { disabled, ..self }
    }

    /// The identity that a login returns.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The stored hash. Do not log or print it.
    pub fn password_hash(&self) -> Option<&str> {
        self.password_hash.as_deref()
    }

    pub(super) fn enabled(self) -> Option<Self> {
        (!self.disabled).then_some(self)
    }
}

debug_only!(StoredUser { identity, disabled });

/// A table of users.
///
/// ```
/// use tower_oauth2_password::{BoxError, Identity, Login, PasswordVerifier, StoredUser, Users, Verdict, Verifier};
///
/// struct Database;
///
/// impl Users for Database {
///     async fn find(&self, username: &str) -> Result<Option<StoredUser>, BoxError> {
///         // let row = sqlx::query!("select id, hash from users where name = $1", username).fetch_optional(..).await?;
///         let row = (username == "alice").then_some(("7f3a", "$argon2id$v=19$m=19456,t=2,p=1$..."));
///         Ok(row.map(|(id, hash)| StoredUser::new(Identity::new(id)).with_password_hash(hash)))
///     }
///
///     async fn find_subject(&self, subject: &str) -> Result<Option<StoredUser>, BoxError> {
///         Ok((subject == "7f3a").then(|| StoredUser::new(Identity::new(subject))))
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let verifier = PasswordVerifier::new(Database);
/// assert!(matches!(verifier.verify_subject("7f3a").await?, Verdict::Granted(_)));
/// assert!(matches!(verifier.verify_subject("alice").await?, Verdict::Denied), "a username is not a subject");
/// # Ok::<(), BoxError>(())
/// # })?;
/// # Ok::<(), BoxError>(())
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` is not a table of `Users`", label = "`MemoryUsers` is one")]
pub trait Users: Send + Sync + 'static {
    /// The user with this username. How usernames compare is up to the table.
    ///
    /// # Errors
    /// When the table is unavailable. The client gets a 503, and the cause is logged.
    fn find(&self, username: &str) -> impl Future<Output = Result<Option<StoredUser>, BoxError>> + Send;

    /// The user with this subject ([`Identity::subject`]). It is called at each refresh. Only where subjects are usernames,
    /// and no username is ever given to another user, it may call [`find`](Self::find).
    ///
    /// # Errors
    /// As for [`find`](Self::find).
    fn find_subject(&self, subject: &str) -> impl Future<Output = Result<Option<StoredUser>, BoxError>> + Send;

    /// Replaces the hash of `user` with `new`, a hash of the same password with the current parameters. Replace it only if the
    /// stored hash still is `user.password_hash()`: the password may have changed meanwhile. The default does nothing, and
    /// then each correct login with an outdated hash computes two hashes instead of one.
    ///
    /// # Errors
    /// When the hash could not be stored. The cause is logged, and the login succeeds.
    fn update_password_hash(&self, user: &StoredUser, new: &str) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = (user, new);
        std::future::ready(Ok(()))
    }
}

impl<U: Users> Users for Arc<U> {
    fn find(&self, username: &str) -> impl Future<Output = Result<Option<StoredUser>, BoxError>> + Send {
        U::find(self, username)
    }

    fn find_subject(&self, subject: &str) -> impl Future<Output = Result<Option<StoredUser>, BoxError>> + Send {
        U::find_subject(self, subject)
    }

    fn update_password_hash(&self, user: &StoredUser, new: &str) -> impl Future<Output = Result<(), BoxError>> + Send {
        U::update_password_hash(self, user, new)
    }
}

/// Users in memory, for tests, examples and small fixed sets. Clones share the table.
///
/// ```
/// use tower_oauth2_password::{Identity, MemoryUsers, StoredUser};
///
/// let users = MemoryUsers::default();
/// assert!(users.insert("alice", StoredUser::new(Identity::new("alice"))).is_none());
/// assert!(MemoryUsers::from_phc([("bob", "no hash", "items:read")]).is_err());
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryUsers(Arc<RwLock<HashMap<String, StoredUser>>>);

impl MemoryUsers {
    /// Users as username, PHC string, and scope.
    ///
    /// # Errors
    /// When a hash is malformed or costs too much, a scope is malformed, or a username occurs twice.
    pub fn from_phc<'a>(users: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>) -> Result<Self, InvalidConfig> {
        let table = Self::default();
        for (name, phc, scope) in users {
            let unreadable = |why| InvalidConfig::new(format!("the password hash of {name:?} cannot be read: {why}"));
            StoredHash::parse(phc).map_err(unreadable)?;
            let malformed = |error| InvalidConfig::new(format!("the scope of {name:?}: {error}"));
            let scope = scope.parse::<Scope>().map_err(malformed)?;
            let user = StoredUser::new(Identity::new(name).with_scope(scope)).with_password_hash(phc);
            let is_new = table.insert(name, user).is_none();
            InvalidConfig::unless(is_new, format!("the user {name:?} occurs twice: remove one"))?;
        }
        Ok(table)
    }

    /// Adds or replaces a user, and returns the replaced one.
    pub fn insert(&self, username: &str, user: StoredUser) -> Option<StoredUser> {
        write(&self.0).insert(username.to_owned(), user)
    }
}

impl Users for MemoryUsers {
    async fn find(&self, username: &str) -> Result<Option<StoredUser>, BoxError> {
        Ok(read(&self.0).get(username).cloned())
    }

    async fn find_subject(&self, subject: &str) -> Result<Option<StoredUser>, BoxError> {
        let table = read(&self.0);
        let is_subject = |user: &&StoredUser| user.identity.subject() == subject;
        // Usually the subject is the username.
        let by_name = table.get(subject).filter(is_subject);
        Ok(by_name.or_else(|| table.values().find(is_subject)).cloned())
    }

    async fn update_password_hash(&self, user: &StoredUser, new: &str) -> Result<(), BoxError> {
        let mut table = write(&self.0);
        for stored in table.values_mut() {
            if stored.identity.subject() == user.identity.subject() && stored.password_hash == user.password_hash {
                stored.password_hash = Some(new.to_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHC: &str = "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$4XHlkW01o5HKkdwRDbV9q8aKWen4PIr0is91zg2e36k";

    #[test]
    fn an_invalid_user_is_an_error_with_the_name_and_without_the_hash() {
        let large = PHC.replace("m=64", "m=4194304");
        for (users, said) in [
            (vec![("alice", "wonderland123", "")], "the password hash of \"alice\""),
            (vec![("alice", PHC, ""), ("bob", &large, "")], "the password hash of \"bob\""),
            (vec![("alice", PHC, "a\"b")], "the scope of \"alice\""),
            (vec![("alice", PHC, ""), ("alice", PHC, "")], "\"alice\" occurs twice"),
        ] {
            let error = MemoryUsers::from_phc(users).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
            assert!(!error.contains("wonderland123") && !error.contains("MDEy"), "{error}");
        }
    }

    #[tokio::test]
    async fn users_are_found_by_name_and_by_subject() {
        let users = MemoryUsers::from_phc([("alice", PHC, "items:read")]).unwrap();
        assert!(users.insert("bob", StoredUser::new(Identity::new("id-of-bob"))).is_none());
        let subject_of =
            |found: Result<Option<StoredUser>, BoxError>| Some(found.unwrap()?.identity().subject().to_owned());
        assert_eq!(subject_of(users.find("alice").await).as_deref(), Some("alice"));
        assert_eq!(subject_of(users.find("bob").await).as_deref(), Some("id-of-bob"));
        assert_eq!(subject_of(users.find("id-of-bob").await), None);
        assert_eq!(subject_of(users.find_subject("id-of-bob").await).as_deref(), Some("id-of-bob"));
        assert_eq!(subject_of(users.find_subject("bob").await), None);
        assert_eq!(subject_of(users.find("ALICE").await), None, "names are compared as they are");
    }

    /// Only what a table must implement.
    struct Names;

    impl Users for Names {
        async fn find(&self, _: &str) -> Result<Option<StoredUser>, BoxError> {
            Ok(None)
        }

        async fn find_subject(&self, _: &str) -> Result<Option<StoredUser>, BoxError> {
            Ok(None)
        }
    }

    #[tokio::test]
    async fn by_default_hashes_stay() {
        assert!(Names.update_password_hash(&StoredUser::new(Identity::new("alice")), PHC).await.is_ok());
    }

    #[tokio::test]
    async fn an_arc_asks_the_table_in_it() {
        let users = Arc::new(MemoryUsers::default());
        users.insert("alice", StoredUser::new(Identity::new("id")).with_password_hash("old"));
        let alice = Users::find(&users, "alice").await.unwrap().unwrap();
        assert!(Users::find(&users, "id").await.unwrap().is_none());
        Users::update_password_hash(&users, &alice, "new").await.unwrap();
        let alice = Users::find_subject(&users, "id").await.unwrap().unwrap();
        assert_eq!(alice.password_hash(), Some("new"));
        assert!(Users::find_subject(&users, "alice").await.unwrap().is_none());
    }

    #[test]
    fn a_user_is_printed_without_the_hash() {
        let printed =
            format!("{:?}", StoredUser::new(Identity::new("alice")).with_password_hash(PHC).with_disabled(true));
        assert!(printed.contains("alice") && printed.contains("disabled: true"), "{printed}");
        assert!(!printed.contains("argon2id"), "{printed}");
    }

    #[tokio::test]
    async fn a_hash_that_changed_meanwhile_is_kept() {
        let users = MemoryUsers::default();
        let seen = StoredUser::new(Identity::new("alice")).with_password_hash("seen");
        users.insert("alice", seen.clone());
        users.insert("alice", StoredUser::new(Identity::new("alice")).with_password_hash("changed by its owner"));
        users.update_password_hash(&seen, "of the old password").await.unwrap();
        let now = users.find("alice").await.unwrap().unwrap();
        assert_eq!(now.password_hash(), Some("changed by its owner"));
    }
}
