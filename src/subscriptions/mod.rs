//! Who wants what: the dispatcher's view of the cluster.

mod table;

pub use table::Subscriptions;
