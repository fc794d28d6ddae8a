//! What browsers were asked to sign: each is good once, for five minutes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tower_oauth2_password::TokenError;

/// As long as the browser waits for its user.
const LIFETIME: Duration = Duration::from_secs(300);

/// Strangers may ask, so the number is limited. Where the table or the share of an owner is full, the next is refused until others
/// are used or expire. None is dropped to make room: each can still be answered.
pub(crate) struct Challenges<S>(Mutex<HashMap<String, (String, Instant, S)>>);

impl<S> Challenges<S> {
    const MAX: usize = 10_000;
    const SHARE: usize = 50;

    pub(crate) fn new() -> Self {
        Self(Mutex::default())
    }

    pub(crate) fn put(&self, id: &str, owner: String, state: S) -> Result<(), TokenError> {
        let mut waiting = locked(&self.0);
        waiting.retain(|_, (_, since, _)| since.elapsed() < LIFETIME);
        let share = waiting.values().filter(|(other, ..)| *other == owner).count();
        if waiting.len() >= Self::MAX || share >= Self::SHARE {
            return Err(TokenError::temporarily_unavailable(Duration::from_secs(60)));
        }
        waiting.insert(id.to_owned(), (owner, Instant::now(), state));
        Ok(())
    }

    /// Uses it up, whether the signature turns out to be right or not.
    pub(crate) fn take(&self, id: &str) -> Option<S> {
        let (_, since, state) = locked(&self.0).remove(id)?;
        (since.elapsed() < LIFETIME).then_some(state)
    }
}

/// The owner of what a stranger asks for. A household may have a whole /56 of IPv6, and an IPv4 address may be translated
/// (RFC 6052, section 2.1).
pub(crate) fn network(address: Option<IpAddr>) -> String {
    match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V6(address)) if address.segments().starts_with(&[0x64, 0xFF9B, 0, 0, 0, 0]) => address.to_string(),
        Some(IpAddr::V6(address)) => Ipv6Addr::from_bits(address.to_bits() >> 72 << 72).to_string(),
        Some(IpAddr::V4(address)) => address.to_string(),
        None => String::new(),
    }
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(challenges: &Challenges<()>, id: &str, owner: &str) -> Result<(), TokenError> {
        challenges.put(id, owner.to_owned(), ())
    }

    fn let_pass(challenges: &Challenges<()>, time: Duration) {
        for (_, since, ()) in locked(&challenges.0).values_mut() {
            *since -= time;
        }
    }

    #[test]
    fn a_challenge_is_good_once_and_for_five_minutes() {
        let challenges = Challenges::new();
        put(&challenges, "used", "a").unwrap();
        put(&challenges, "late", "a").unwrap();
        let_pass(&challenges, LIFETIME - Duration::from_secs(10));
        assert!(challenges.take("used").is_some());
        assert!(challenges.take("used").is_none());
        let_pass(&challenges, Duration::from_secs(10));
        assert!(challenges.take("late").is_none());
    }

    #[test]
    fn a_full_share_or_table_refuses_and_drops_nothing() {
        let challenges = Challenges::new();
        for id in 0..50 {
            put(&challenges, &id.to_string(), "a").unwrap();
        }
        let refusal = put(&challenges, "next", "a").unwrap_err();
        assert_eq!((refusal.status().as_u16(), refusal.retry_after_seconds()), (503, Some(60)));
        put(&challenges, "next", "b").unwrap();
        for id in 51..10_000 {
            locked(&challenges.0).insert(id.to_string(), (id.to_string(), Instant::now(), ()));
        }
        assert_eq!(put(&challenges, "another", "c").unwrap_err().status(), 503);
        assert!(challenges.take("0").is_some());
        put(&challenges, "another", "a").unwrap();
        let_pass(&challenges, LIFETIME);
        put(&challenges, "last", "a").unwrap();
        assert_eq!(locked(&challenges.0).len(), 1);
    }

    #[test]
    fn one_client_is_one_owner_whatever_its_address() {
        let owner = |address: &str| network(Some(address.parse().unwrap()));
        assert_eq!(owner("2001:db8::1"), owner("2001:db8:0:ff::2"));
        assert_ne!(owner("2001:db8::1"), owner("2001:db8:0:100::1"));
        assert_ne!(owner("64:ff9b::192.0.2.1"), owner("64:ff9b::192.0.2.2"));
        assert_eq!(owner("::ffff:192.0.2.1"), owner("192.0.2.1"));
        assert_ne!(owner("192.0.2.1"), owner("192.0.2.2"));
    }
}
