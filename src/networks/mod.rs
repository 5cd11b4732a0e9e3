//! Finds out which addresses are the cluster's own, and keeps the guard told.
//!
//! ```text
//! Nodes ──────────────────────── watch ─> pod ranges, all of their addresses ┐
//! ServiceCIDRs ───────────────── watch ─> service ranges                     ├─> ClusterNetworks
//! EndpointSlices of kubernetes ─ watch ┐                                     │
//! the host of the client's config ─────┴> addresses of the API server        ┘
//! ```
//!
//! **Guarantees.** What a watch has brought stays known while it is broken or
//! refused, and of a first list each page is known when it comes. What may not
//! be read, or is not served, is said once, with the flag to set in its place,
//! and asked for again after a while. So is what has not come in when
//! connections wait for it no longer, whatever the reason: the API server may
//! be busy or slow.
//!
//! **Assumes.** Objects say what is so: who may write Nodes can have addresses
//! refused to all.
//!
//! **Does not do.** It does not hold connections up for longer than
//! [`ClusterNetworks`] does, though it may know little then. It does not find networks that no object names: a range of
//! load balancers, a peered network, or the ranges of a network plugin that
//! keeps its own books.

mod board;
mod objects;
mod source;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use board::Metrics;

use crate::outbound::ClusterNetworks;
use board::{Board, Source};
use objects::{EndpointSlice, Node, ServiceCidr};
use source::follow;

/// How often the API server's name is resolved.
const RESOLVE_EVERY: Duration = Duration::from_mins(1);

/// What is looked at.
#[derive(Clone)]
pub struct Surroundings {
    /// To watch by; none if only the API server's own addresses are to be found out.
    pub client: Option<Client>,
    /// The host of the API server in the client's configuration, and in the pod's environment.
    pub api_servers: Vec<String>,
    /// Who is told.
    pub networks: ClusterNetworks,
    /// How many ranges are known.
    pub metrics: Metrics,
}

/// Looks until `shutdown`.
pub async fn run(surroundings: Surroundings, shutdown: CancellationToken) {
    let Surroundings { client, api_servers, networks, metrics } = surroundings;
    let sources = if client.is_some() { &Source::ALL[..] } else { &[Source::Client] };
    let board = Arc::new(Board::new(sources, networks, metrics));
    let mut looks = JoinSet::new();
    if let Some(client) = client {
        let all = watcher::Config::default();
        let of_the_api_server = all.clone().labels("kubernetes.io/service-name=kubernetes");
        let nodes = Api::<Node>::all(client.clone());
        let services = Api::<ServiceCidr>::all(client.clone());
        let slices = Api::<EndpointSlice>::namespaced(client, "default");
        looks.spawn(follow(nodes, all.clone(), Source::Nodes, board.clone(), shutdown.clone()));
        looks.spawn(follow(services, all, Source::Services, board.clone(), shutdown.clone()));
        looks.spawn(follow(slices, of_the_api_server, Source::ApiServer, board.clone(), shutdown.clone()));
    }
    looks.spawn(tell_of_the_late(board.clone(), shutdown.clone()));
    looks.spawn(resolve(api_servers, board, shutdown));
    looks.join_all().await;
}

/// Says what to set in place of what is not known when connections wait no longer.
async fn tell_of_the_late(board: Arc<Board>, shutdown: CancellationToken) {
    for source in shutdown.run_until_cancelled(board.late()).await.into_iter().flatten() {
        tracing::warn!(
            ?source,
            set = source.instead(),
            "part of the cluster's own networks has not been found out in time, and may be called until it is, unless \
             it is forbidden"
        );
    }
}

/// Keeps the addresses of hosts known.
async fn resolve(hosts: Vec<String>, board: Arc<Board>, shutdown: CancellationToken) {
    loop {
        let mut found = Vec::new();
        for host in &hosts {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            // The port does not matter; an address is its own answer.
            match tokio::net::lookup_host((bare, 443)).await {
                Ok(addresses) => found.extend(addresses.map(|address| address.ip())),
                Err(error) => tracing::warn!(%host, %error, "the API server's own name has no address"),
            }
        }
        if !found.is_empty() || hosts.is_empty() {
            board.publish(Source::Client, ranges(found));
        }
        board.settle(Source::Client);
        if shutdown.run_until_cancelled(tokio::time::sleep(RESOLVE_EVERY)).await.is_none() {
            return;
        }
    }
}

fn ranges(addresses: Vec<IpAddr>) -> Vec<IpNet> {
    addresses.into_iter().map(IpNet::from).collect()
}
