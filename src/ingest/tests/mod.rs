//! The server over real sockets and real TLS, with a cluster and a journal
//! that a test scripts.

mod answers;
mod hostile;
mod limits;
mod parts;
mod quotas;
mod renewal;
