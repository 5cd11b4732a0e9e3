//! What is said of a host that may not be called: to its tenant, and to an administrator.
//!
//! A tenant learns nothing that they did not write themself: of a name not
//! which addresses it has, nor of which kind they are, since name servers may
//! answer for zones that are not theirs to read.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::names::NameKind;
use crate::outbound::AddressKind;

/// A host or an address that may not be called. Its `Display` is for tenants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// The URI names this address.
    Literal {
        /// The address.
        address: IpAddr,
        /// What is wrong with it.
        kind: AddressKind,
    },
    /// Every address that the name has is of a forbidden kind.
    Resolved {
        /// As the URI names it.
        host: String,
        /// The first of its addresses.
        address: IpAddr,
        /// What is wrong with it.
        kind: AddressKind,
    },
    /// The name is not even resolved.
    Name {
        /// As the URI names it.
        host: String,
        /// What is wrong with it.
        kind: NameKind,
    },
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Which of the Internet's addresses are the cluster's own is nobody's to learn.
            Self::Literal { address, kind: AddressKind::Cluster } => write!(
                f,
                "{address} is an address that Herald does not call; name a public endpoint, or let an \
                 administrator allow it with --outbound-allow {address}"
            ),
            Self::Literal { address, kind } => write!(
                f,
                "{address} is {kind}, which Herald does not call; name a public endpoint, or let an \
                 administrator allow it with --outbound-allow {address}"
            ),
            Self::Resolved { host, .. } => write!(
                f,
                "{host} leads to an address that Herald does not call; name a public endpoint, or let an \
                 administrator allow it: Herald's log says which address it is and which --outbound-allow it needs"
            ),
            Self::Name { host, kind } => write!(
                f,
                "{host} is {kind}, which Herald does not call; name the endpoint by its public name, or let an \
                 administrator allow it with --outbound-allow {host} and the CIDR of its address"
            ),
        }
    }
}

impl std::error::Error for Forbidden {}

impl Forbidden {
    /// What a line of the log says beside host and namespace, whose webhooks are concerned.
    pub(in crate::outbound) fn detail(&self, namespace: &str) -> Detail {
        match self {
            Self::Literal { address, kind } | Self::Resolved { address, kind, .. } => Detail {
                address: Some(*address),
                kind: kind.to_string(),
                allow: format!("--outbound-allow {namespace}={}", IpNet::from(*address)),
            },
            Self::Name { host, kind } => Detail {
                address: None,
                kind: kind.to_string(),
                allow: format!(
                    "--outbound-allow {namespace}={}, and the CIDR of its address",
                    host.trim_end_matches('.')
                ),
            },
        }
    }
}

/// What is an administrator's to know.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::outbound) struct Detail {
    pub(in crate::outbound) address: Option<IpAddr>,
    pub(in crate::outbound) kind: String,
    /// The flag that would allow it to this namespace alone.
    pub(in crate::outbound) allow: String,
}
