//! Herald's own CA: what it keeps in a cluster, and what a TLS client makes of it.

mod bundles;
mod client;
mod installation;
mod objects;
mod replicas;
mod rights;
mod rotation;
mod server;
mod serving;
