//! Herald's own CA: what it keeps in a cluster, and what a TLS client makes of it.

mod bundles;
mod client;
mod installation;
mod replicas;
mod rotation;
mod server;
mod serving;

use crate::support::objects;
