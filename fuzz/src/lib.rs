//! What the fuzz targets share: a model of every endpoint, written from the RFCs and not from the crate, and the
//! checks that every reply must pass.
#![allow(missing_docs)]

pub mod ask;
pub mod base64;
pub mod model;
pub mod reply;
pub mod session;
pub mod urlencoded;
pub mod world;
