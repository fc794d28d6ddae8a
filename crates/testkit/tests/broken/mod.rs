//! Stores with one fault each, around those in memory.

pub mod attempts;
pub mod deny_list;
pub mod refresh;
