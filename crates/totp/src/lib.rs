#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod memory;
mod recovery;
mod secret;
mod table;
#[cfg(feature = "testkit")]
pub mod testkit;
mod totp;

pub use self::{
    memory::MemoryFactors,
    recovery::{RecoveryCodeHash, RecoveryCodes},
    secret::TotpSecret,
    table::FactorTable,
    totp::Totp,
};
