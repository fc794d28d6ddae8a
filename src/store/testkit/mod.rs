//! Checks of a store of one's own against the contract of its trait (feature `testkit`).
//!
//! Each function calls the store as this crate does and panics at the first clause of the contract that is broken,
//! naming it. None needs a runtime of its own: what the store's futures need, the caller brings. Await them in a
//! `#[tokio::test]` or a `block_on`: they are not made to be spawned. Keys and names are random, so that the kit may run
//! again and again against a store that holds other data; give it a test instance all the same, since what it leaves
//! behind only expires.
//!
//! - [`refresh_store`], [`attempt_store`] and [`deny_list`] take a few seconds. Their races are between calls in one
//!   task: they show a store that reads, waits, and then writes.
//! - [`refresh_store_in_parallel`] and [`attempt_store_in_parallel`] run their races on threads of the caller's, and
//!   across several handles, as several processes would hold them. [`deny_list_shared`] asks a second handle.
//! - [`attempt_store_lease`] waits for half a minute, for the place of a caller that crashed.
//!
//! Times may be off by a tenth of a second, and what is over may linger for a second and a half.
//!
//! What no kit sees from outside: steps of the wall clock, the bound on memory, calls that were in time and take effect
//! late, and whether [`DenyList::is_denied`](super::DenyList::is_denied) waits.
//!
//! ```
//! use tower_oauth2_password::store::{MemoryAttemptStore, MemoryDenyList, MemoryRefreshStore, testkit};
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! testkit::refresh_store(MemoryRefreshStore::new()).await;
//! testkit::attempt_store(MemoryAttemptStore::new()).await;
//! testkit::deny_list(MemoryDenyList::new()).await;
//! # });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A list that forgets is told so:
//!
//! ```should_panic
//! use std::time::{Duration, Instant};
//! use tower_oauth2_password::store::{DenyList, StoreError, testkit};
//!
//! struct Forgetful;
//!
//! impl DenyList for Forgetful {
//!     async fn deny(&self, _: &str, _: Duration, _: Instant) -> Result<(), StoreError> {
//!         Ok(())
//!     }
//!
//!     fn is_denied(&self, _: &str) -> bool {
//!         false
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! // panics: the contract of DenyList is broken: a denied token is denied at once
//! testkit::deny_list(Forgetful).await;
//! # });
//! ```
#![allow(clippy::panic, reason = "a kit of tests says by a panic what is broken")]

mod attempts;
mod attempts_race;
mod deny_list;
mod refresh;
mod refresh_race;
mod refresh_time;
mod support;

pub use self::{
    attempts::{attempt_store, attempt_store_lease},
    attempts_race::attempt_store_in_parallel,
    deny_list::{deny_list, deny_list_shared},
    refresh::refresh_store,
    refresh_race::refresh_store_in_parallel,
    support::Job,
};
