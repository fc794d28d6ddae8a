//! The manual: where to place the layers, which attacks are covered, and why the defaults are what they are.
//!
//! Read [`layers`] before your first deployment, [`deployment`] before your second machine, and [`threats`] before a
//! security review.

#[doc = include_str!("layers.md")]
pub mod layers {}

#[doc = include_str!("deployment.md")]
pub mod deployment {}

#[doc = include_str!("threats.md")]
pub mod threats {}

#[doc = include_str!("rules.md")]
pub mod rules {}

#[doc = include_str!("defaults.md")]
pub mod defaults {}

#[doc = include_str!("from_fastapi.md")]
pub mod from_fastapi {}

#[doc = include_str!("observing.md")]
pub mod observing {}

#[doc = include_str!("comparison.md")]
pub mod comparison {}
