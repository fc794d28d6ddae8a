//! What the rows of the tables hold.

use sha2::{Digest, Sha256};
use tower_oauth2_password::BoxError;
use tower_oauth2_password::store::{Denial, Denied, Family, FamilyId, Previous, SecretHash, SubjectRef};

use crate::call::duration;

/// A short digest of texts of any length, which share no bytes with those of another kind.
pub(crate) fn digest(kind: &str, texts: &[&str]) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for text in [kind].iter().chain(texts) {
        // With its length, so that no two lists of texts are the same bytes.
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
    }
    let mut short = [0; 16];
    short.iter_mut().zip(hasher.finalize()).for_each(|(to, from)| *to = from);
    short
}

/// The key of a subject of one server.
pub(crate) fn subject_key(subject: SubjectRef<'_>) -> [u8; 16] {
    digest("subject", &[subject.server, subject.subject])
}

/// A family: its id, the hashes of the current and the previous secret, what was sealed, the login; and in microseconds what
/// is left of its absolute lifetime, its idle lifetime, its age and the time since its last use.
pub(crate) type FamilyRow = (Vec<u8>, Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>, Vec<u8>, i64, i64, i64, i64);

pub(crate) fn family(row: FamilyRow) -> Result<(FamilyId, Family), BoxError> {
    let (id, secret, previous, sealed, login, rest, idle, age, unused) = row;
    let mut family = Family::new(SecretHash(exact(secret)?), "", duration(rest), duration(idle));
    family.session = serde_json::from_slice(&login)?;
    (family.age, family.unused_for) = (duration(age), duration(unused));
    let previous = previous.map(exact).transpose()?;
    family.previous = previous.map(|secret| Previous::new(SecretHash(secret), sealed.unwrap_or_default()));
    Ok((FamilyId(exact(id)?), family))
}

fn exact<const N: usize>(bytes: Vec<u8>) -> Result<[u8; N], BoxError> {
    bytes.try_into().map_err(|_| format!("a column of the store must hold {N} bytes").into())
}

/// One entry of the deny list.
pub(crate) struct DeniedRow {
    /// The digest of a token, a session or a subject.
    pub(crate) key: [u8; 16],
    pub(crate) subject: [u8; 16],
    /// Set for a subject: nanoseconds since the Unix epoch, so that no session is counted to the wrong side.
    pub(crate) before: Option<i64>,
}

impl DeniedRow {
    pub(crate) fn of(denial: &Denial<'_>) -> Result<Self, BoxError> {
        let subject = denied_subject(denial.issuer, denial.subject);
        let (key, before) = match denial.denied {
            Denied::Token(id) => (digest("token", &[id]), None),
            Denied::Session(id) => (digest("session", &[id]), None),
            Denied::SubjectBefore(end) => {
                let end = end.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                (subject, Some(i64::try_from(end.as_nanos())?))
            }
            _ => return Err("these stores do not know this kind of denial: update them".into()),
        };
        Ok(Self { key, subject, before })
    }
}

pub(crate) fn denied_subject(issuer: Option<&str>, subject: &str) -> [u8; 16] {
    digest("denied subject", &[issuer.unwrap_or_default(), subject])
}

#[cfg(test)]
mod tests {
    use tower_oauth2_password::store::Session;

    use super::*;

    #[test]
    fn no_two_lists_of_texts_have_one_digest() {
        let all = [digest("a", &["b", "c"]), digest("a", &["bc"]), digest("ab", &["c"]), digest("a", &["b", "c", ""])];
        for (n, one) in all.iter().enumerate() {
            assert_eq!(all.iter().position(|other| other == one), Some(n));
        }
    }

    #[test]
    fn a_row_of_other_sizes_is_an_error() {
        let login = serde_json::to_vec(&Session::default()).unwrap_or_default();
        let row = |id: usize, secret: usize| (vec![0; id], vec![0; secret], None, None, login.clone(), 1, 1, 0, 0);
        assert!(family(row(16, 32)).is_ok());
        assert!(family(row(15, 32)).is_err() && family(row(16, 33)).is_err());
    }
}
