//! The manual: how to place the layers, what was thought of, and why the defaults are what they are.
//!
//! Read [`layers`] before the first deployment, [`deployment`] before the second machine, [`threats`] before a review.

#[doc = include_str!("layers.md")]
pub mod layers {}

#[doc = include_str!("deployment.md")]
pub mod deployment {}

#[doc = include_str!("threats.md")]
pub mod threats {}

#[doc = include_str!("defaults.md")]
pub mod defaults {}

#[doc = include_str!("from_fastapi.md")]
pub mod from_fastapi {}

#[doc = include_str!("observing.md")]
pub mod observing {}

#[doc = include_str!("comparison.md")]
pub mod comparison {}
