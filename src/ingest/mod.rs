//! The way in for user events.

pub mod parse;
