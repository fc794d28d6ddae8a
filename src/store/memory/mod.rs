//! Stores in the memory of one process: bounded, and expiring without a thread of their own.
//!
//! Each is one table behind one lock. A call holds it for about a microsecond, which is nothing beside the password
//! hash or the signature that the same request costs; shards would only make the bounds coarser.

mod attempt_table;
mod attempts;
mod clock;
mod deny_list;
mod family_table;
mod refresh;
#[cfg(all(test, shuttle))]
mod shuttle_tests;

pub use self::{attempts::MemoryAttemptStore, deny_list::MemoryDenyList, refresh::MemoryRefreshStore};
