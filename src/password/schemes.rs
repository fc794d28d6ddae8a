//! What one attempt computes: the Argon2 hash of a row, the hash of another scheme, or one that only takes its time.

use super::hash::{self, StoredHash};
use super::{backend::Memory, params::Argon2Params};
use crate::observe;

/// More work than any hash within the caps is, so that a sum of many stays a number.
const MOST_WORK: u64 = 1 << 32;

/// Reads the password hashes of other schemes, for [`PasswordVerifier::with_old_hashes`](crate::PasswordVerifier). The package
/// `tower-oauth2-password-legacy-hashes` has an implementation for those of common frameworks.
///
/// Cap what a hash may cost, compare in constant time, and let a password that your scheme would cut or misread take as long as
/// any other.
///
/// ```
/// use tower_oauth2_password::{HashCheck, HashSchemes};
/// # mod whirlpool {
/// #     pub fn is_hash_of(_: &str, password: &str) -> bool { password == "wonderland123" }
/// # }
///
/// /// Rows that begin with `whirlpool$`.
/// #[derive(Debug)]
/// struct Whirlpool;
///
/// impl HashSchemes for Whirlpool {
///     fn read(&self, _username: &str, stored: Option<&str>) -> Option<Result<HashCheck, &'static str>> {
///         let hash = stored?.strip_prefix("whirlpool$")?.to_owned();
///         if hash.len() != 128 {
///             return Some(Err("it is cut off"));
///         }
///         Some(Ok(HashCheck::new(20_000, move |password| whirlpool::is_hash_of(&hash, password))))
///     }
/// }
///
/// let row = format!("whirlpool${}", "0".repeat(128));
/// assert!(matches!(Whirlpool.read("alice", Some(&row)), Some(Ok(_))));
/// assert!(matches!(Whirlpool.read("alice", Some("whirlpool$")), Some(Err(_))));
/// assert!(Whirlpool.read("alice", Some("$argon2id$v=19$...")).is_none());
/// ```
pub trait HashSchemes: std::fmt::Debug + Send + Sync + 'static {
    /// How to check a password against a `stored` hash. `None`: the row is not one of yours, and is checked as Argon2.
    ///
    /// `stored` is `None` for an unknown or disabled user, for one without a hash, and after an error. What is returned then
    /// takes its time and is never right. `None` takes the time of a new Argon2 hash.
    ///
    /// # Errors
    /// Why the row is one of yours and cannot be checked. The client sees a wrong password; the log has the subject and the
    /// reason.
    fn read(&self, username: &str, stored: Option<&str>) -> Option<Result<HashCheck, &'static str>>;
}

/// One hash to compute on a hashing thread, made by [`HashSchemes`], which has an example.
pub struct HashCheck {
    pub(super) work: u64,
    pub(super) run: Box<Run>,
}

/// Returns `Some(outdated)` if the password is right.
type Run = dyn FnOnce(&str, &mut Memory) -> Option<bool> + Send;

impl HashCheck {
    /// `is_right` must keep a core busy and wait for nothing. `work` says how long it takes, as the KiB that Argon2 fills
    /// meanwhile (38,912 by default), for the expected wait of others. Estimates need not be exact: the pool also learns from the
    /// time that checks took.
    pub fn new(work: u64, is_right: impl FnOnce(&str) -> bool + Send + 'static) -> Self {
        Self::of_work(work, |password, _| is_right(password).then_some(true))
    }

    /// An Argon2 hash that stands in a row of another form, as a PHC string.
    ///
    /// # Errors
    /// Why it cannot be checked.
    pub fn argon2(phc: &str) -> Result<Self, &'static str> {
        Self::stored(phc, |_| true)
    }

    fn stored(phc: &str, is_outdated: impl FnOnce(&StoredHash) -> bool + Send + 'static) -> Result<Self, &'static str> {
        let hash = StoredHash::parse(phc)?;
        let work = hash.params.work();
        Ok(Self::of_work(work, move |password, memory| hash.verify(password, memory).then(|| is_outdated(&hash))))
    }

    fn of_work(work: u64, run: impl FnOnce(&str, &mut Memory) -> Option<bool> + Send + 'static) -> Self {
        Self { work: work.min(MOST_WORK), run: Box::new(run) }
    }

    /// What an attempt on a row computes, and exactly one hash if there is no row or it cannot be read. `read` is the one of
    /// [`HashSchemes`] for its username.
    pub(super) fn of(
        read: impl Fn(Option<&str>) -> Option<Result<Self, &'static str>>,
        subject: &str,
        row: Option<&str>,
        params: Argon2Params,
    ) -> Self {
        let unreadable = |reason| observe::unreadable_hash(subject, reason);
        let current = |row| Self::stored(row, move |hash| hash.is_outdated(params));
        let found = row.and_then(|text| read(row).unwrap_or_else(|| current(text)).map_err(unreadable).ok());
        let is_real = found.is_some();
        let lost = || Self::of_work(params.work(), move |password, memory| hash::spend(params, password, memory));
        let Self { work, run } = found.or_else(|| read(None)?.ok()).unwrap_or_else(lost);
        // Both the same way: with a frame more for one of them, PBKDF2 differed by 0.7 percent.
        Self::of_work(work, move |password, memory| run(password, memory).filter(|_| is_real))
    }
}

crate::secret::debug_only!(HashCheck { work });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_of_any_size_leaves_room_for_a_million_more() {
        let HashCheck { work, .. } = HashCheck::new(u64::MAX, |_| true);
        assert!(work.checked_mul(1_000_000).is_some(), "{work}");
        assert_eq!(HashCheck::new(38_912, |_| true).work, 38_912);
    }
}
