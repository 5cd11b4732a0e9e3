//! The engine against real servers.

pub(in crate::journal) mod server;
