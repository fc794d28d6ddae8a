//! The manual, in reading order.
//!
//! **Begin**
//!
//! 1. [`layers`]: where the layers go, with axum, hyper and tonic.
//! 2. [`from_fastapi`]: FastAPI's tutorial, part by part.
//! 3. [`testing`]: test your app without hashing, without a login, and without waiting.
//!
//! **Build**
//!
//! 4. [`optional_login`]: routes that strangers may use, too.
//! 5. [`accounts`]: sign-up and password change.
//! 6. [`second_factor`]: a code after the password.
//! 7. [`passkeys`]: log in without a password.
//! 8. [`sessions`]: log out here, elsewhere, everywhere.
//! 9. [`single_page_apps`]: where a page keeps its tokens, and what its requests look like.
//! 10. [`websockets`]: WebSockets and downloads.
//! 11. [`services`]: other services that accept your tokens.
//!
//! **Run**
//!
//! 12. [`proxies`]: behind nginx, a load balancer or a CDN.
//! 13. [`production`]: a check-list for going to production.
//! 14. [`deployment`]: the reasons behind it: secrets, several processes, revocation, passwords.
//! 15. [`scale`]: how many cores, and how much of a store.
//! 16. [`observing`]: logs, audit events and metrics.
//!
//! **Judge**
//!
//! 17. [`comparison`]: other projects, and which to choose.
//! 18. [`defaults`]: each default, and the reason for it.
//! 19. [`threats`]: known attacks, and the tests that show why they fail.
//! 20. [`rules`]: the rules of the RFCs that the crate follows.

#[doc = include_str!("layers.md")]
pub mod layers {}

#[doc = include_str!("from_fastapi.md")]
pub mod from_fastapi {}

#[doc = include_str!("testing.md")]
pub mod testing {}

#[doc = include_str!("optional_login.md")]
pub mod optional_login {}

#[doc = include_str!("accounts.md")]
pub mod accounts {}

#[doc = include_str!("second_factor.md")]
pub mod second_factor {}

#[doc = include_str!("passkeys.md")]
pub mod passkeys {}

#[doc = include_str!("sessions.md")]
pub mod sessions {}

#[doc = include_str!("single_page_apps.md")]
pub mod single_page_apps {}

#[doc = include_str!("websockets.md")]
pub mod websockets {}

#[doc = include_str!("services.md")]
pub mod services {}

#[doc = include_str!("proxies.md")]
pub mod proxies {}

#[doc = include_str!("production.md")]
pub mod production {}

#[doc = include_str!("deployment.md")]
pub mod deployment {}

#[doc = include_str!("scale.md")]
pub mod scale {}

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
