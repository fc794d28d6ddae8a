//! Stores with one fault each.

pub mod attempts;
pub mod deny_list;
pub mod refresh;
