//! Limits on guessing: how many wrong passwords and client secrets an account, an address or a client may send.
//!
//! 1. [`AttemptLimits`] reserves a slot for each limit before the credentials are checked, in one atomic step of the store.
//! 2. An [`Attempt`] records the outcome of the check: a failure keeps the slot for the window, a success clears, and a dropped
//!    attempt gives the slot back.
//! 3. When all slots are reserved, attempts wait in a queue, a second at most.
//!
//! No limit knows a name: the store sees an HMAC of it.

pub(crate) mod address;
mod attempt;
mod client_address;
mod limits;
mod queue;
#[cfg(test)]
mod tests;

pub use self::attempt::Attempt;
pub use self::client_address::{ClientAddress, ForwardedHeader};
pub use self::limits::AttemptLimits;
