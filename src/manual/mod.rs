//! The manual, in reading order.
//!
//! **Begin**
//!
//! 1. [`layers`]: where the layers go, with axum, hyper and tonic.
//! 2. [`from_fastapi`]: FastAPI's tutorial, part by part.
//!
//! **Build**
//!
//! 3. [`optional_login`]: routes that strangers may use, too.
//! 4. [`accounts`]: sign-up and password change.
//! 5. [`sessions`]: log out here, elsewhere, everywhere.
//!
//! **Run**
//!
//! 6. [`deployment`]: the reasons behind it: secrets, several processes, revocation, passwords.
//! 7. [`observing`]: logs, audit events and metrics.
//!
//! **Judge**
//!
//! 8. [`comparison`]: other projects, and which to choose.
//! 9. [`defaults`]: each default, and the reason for it.
//! 10. [`threats`]: known attacks, and the tests that show why they fail.
//! 11. [`rules`]: the rules of the RFCs that the crate follows.

#[doc = include_str!("layers.md")]
pub mod layers {}

#[doc = include_str!("from_fastapi.md")]
pub mod from_fastapi {}

#[doc = include_str!("optional_login.md")]
pub mod optional_login {}

#[doc = include_str!("accounts.md")]
pub mod accounts {}

#[doc = include_str!("sessions.md")]
pub mod sessions {}

#[doc = include_str!("deployment.md")]
pub mod deployment {}

#[doc = include_str!("observing.md")]
pub mod observing {}

#[doc = include_str!("comparison.md")]
pub mod comparison {}

#[doc = include_str!("defaults.md")]
pub mod defaults {}

#[doc = include_str!("threats.md")]
pub mod threats {}

#[doc = include_str!("rules.md")]
pub mod rules {}
