//! Hosts that are not even asked for, and their neighbours that are.

use super::super::names::Reply;
use super::super::server::Authority;
use super::{Bench, refused, witness};
use crate::outbound::Forbidden;
use crate::outbound::NameKind::{self, *};

const NAMES: [(&str, Option<NameKind>); 58] = [
    ("localhost", Some(Localhost)),
    ("LOCALHOST", Some(Localhost)),
    ("LocalHost", Some(Localhost)),
    ("a.localhost", Some(Localhost)),
    ("hooks.example.com.localhost", Some(Localhost)),
    ("A.LOCALHOST", Some(Localhost)),
    ("localhost.localdomain", Some(Localhost)),
    ("localhost6.localdomain6", Some(Localhost)),
    ("localhost.example.com", None),
    ("notlocalhost.example.com", None),
    ("a.notlocalhost", None),
    ("kubernetes", Some(SingleLabel)),
    ("metadata", Some(SingleLabel)),
    ("instance-data", Some(SingleLabel)),
    ("rancher-metadata", Some(SingleLabel)),
    ("broadcasthost", Some(SingleLabel)),
    ("ip6-localhost", Some(SingleLabel)),
    ("ip6-loopback", Some(SingleLabel)),
    ("wpad", Some(SingleLabel)),
    ("svc", Some(SingleLabel)),
    ("com", Some(SingleLabel)),
    ("metadata.google.internal", Some(Metadata)),
    ("METADATA.GOOGLE.INTERNAL", Some(Metadata)),
    ("Metadata.Google.Internal", Some(Metadata)),
    ("a.metadata.google.internal", Some(Metadata)),
    ("metadata.google.com", Some(Metadata)),
    ("metadata.goog", Some(Metadata)),
    ("instance-data.ec2.internal", Some(Metadata)),
    ("metadata.azure.internal", Some(Metadata)),
    ("metadata.tencentyun.com", Some(Metadata)),
    ("api.metadata.cloud.ibm.com", Some(Metadata)),
    ("metadata.platformequinix.com", Some(Metadata)),
    ("metadata.packet.net", Some(Metadata)),
    ("notmetadata.google.internal", None),
    ("metadata.google.internal.example.com", None),
    ("metadata.example.com", None),
    ("kubernetes.default.svc", Some(Cluster)),
    ("KUBERNETES.DEFAULT.SVC", Some(Cluster)),
    ("kubernetes.default.svc.cluster.local", Some(Cluster)),
    ("kubernetes.default.svc.CLUSTER.Local", Some(Cluster)),
    ("default.svc", Some(Cluster)),
    ("api.team_b.svc", Some(Cluster)),
    ("_https._tcp.kubernetes.default.svc.cluster.local", Some(Cluster)),
    ("10-1-2-3.default.pod.cluster.local", Some(Cluster)),
    ("cluster.local", Some(Cluster)),
    ("a.cluster.local", Some(Cluster)),
    ("kubernetes.default.svc.k8s.corp.example", Some(Cluster)),
    ("10-1-2-3.default.pod.k8s.corp.example", Some(Cluster)),
    ("K8S.corp.example", Some(Cluster)),
    ("corp.example", None),
    ("notk8s.corp.example", None),
    ("kubernetes.default", None),
    ("svc.example.com", None),
    ("kubernetes.default.svc.example.com", None),
    ("notcluster.local", None),
    ("a.notsvc", None),
    ("xn--bcher-kva.example", None),
    ("127-0-0-1.nip.example", None),
];

pub(super) async fn run(authority: &Authority) -> usize {
    let pair = authority.sign(&["here.test"]);
    let witness = witness(&pair).await;
    let port = witness.address.port();
    let bench = Bench::with_cluster_domain(authority, "k8s.corp.example").await;
    let mut wrong = Vec::new();
    for (host, kind) in NAMES {
        let name = host.to_ascii_lowercase();
        bench.names.says(&name, [Reply::addresses("127.0.0.1 ::1")]);
        let told = refused(bench.exchange(&format!("https://{host}:{port}/")).await);
        let as_wanted = match (kind, &told) {
            (Some(kind), Ok(told)) => *told == Forbidden::Name { host: host.to_owned(), kind },
            // Asked for, and then it is its address that is refused.
            (None, Ok(Forbidden::Resolved { .. })) => true,
            (None | Some(_), _) => false,
        };
        let asked = bench.names.asked(&name);
        if !as_wanted || (asked == 0) != kind.is_some() {
            wrong.push(format!("{host}: {told:?}, and it was asked for {asked} times"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(witness.connections(), 0, "something was connected to");
    NAMES.len()
}
