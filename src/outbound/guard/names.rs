//! Which names are not even asked for.

use std::fmt;

/// Why a name is not resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NameKind {
    /// Some resolvers would take it for an IPv4 address.
    Spelling,
    /// Only a search domain could make it a name of the Internet.
    SingleLabel,
    /// `localhost` and what is under it: RFC 6761 gives them to this machine.
    Localhost,
    /// Where a cloud tells a machine its own secrets.
    Metadata,
    /// Only the cluster's own name server knows it.
    Cluster,
}

impl fmt::Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spelling => "an address in an unusual spelling",
            Self::SingleLabel => "a name without a domain",
            Self::Localhost => "a name of the machine itself",
            Self::Metadata => "a name of a cloud's metadata service",
            Self::Cluster => "a name of the cluster's own network",
        })
    }
}

/// RFC 6761's, and what hosts files have beside it.
const LOCALHOST: [&str; 3] = ["localhost", "localhost.localdomain", "localhost6.localdomain6"];

/// By their documents: Google Cloud (and Yandex), Amazon EC2, Azure, Tencent,
/// IBM, and Equinix Metal, whose metadata service has a public address.
const METADATA: [&str; 9] = [
    "metadata.google.internal",
    "metadata.google.com",
    "metadata.goog",
    "instance-data.ec2.internal",
    "metadata.azure.internal",
    "metadata.tencentyun.com",
    "metadata.cloud.ibm.com",
    "metadata.platformequinix.com",
    "metadata.packet.net",
];

/// Why `name`, in lower case and without a last dot, is not resolved; `cluster` are the cluster's own suffixes.
pub(super) fn forbidden(name: &str, cluster: &[String]) -> Option<NameKind> {
    if ends_in_number(name) {
        Some(NameKind::Spelling)
    } else if LOCALHOST.iter().any(|localhost| is_under(name, localhost)) {
        Some(NameKind::Localhost)
    } else if !name.contains('.') {
        Some(NameKind::SingleLabel)
    } else if METADATA.iter().any(|metadata| is_under(name, metadata)) {
        Some(NameKind::Metadata)
    } else if cluster.iter().any(|suffix| is_under(name, suffix)) {
        Some(NameKind::Cluster)
    } else {
        None
    }
}

/// Whether the last label is a number, decimal, octal or hexadecimal: then some
/// resolvers take the whole for an IPv4 address.
pub(super) fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.chars().all(|c| c.is_ascii_hexdigit()),
        None => !last.is_empty() && last.chars().all(|c| c.is_ascii_digit()),
    }
}

fn is_under(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
