//! Two replicas that both act, as they may for a moment around a change of leaders.

use std::time::Duration;

use herald::certificates::Lifetimes;
use herald::model::{Clock, ManualClock};
use k8s_openapi::api::core::v1::Secret;

use super::client::trusts;
use super::installation::{HOST, Installation, settle};
use super::objects::{bundle, bundles, entry};

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_at_once_agree_on_one_ca_at_every_moment_of_its_life() {
    let time = ManualClock::new(Clock::default().now());
    let mut installation = Installation::of_one_namespace().await;
    installation.config.clock = time.clock();
    installation.config.lifetimes = Lifetimes::new(HOUR * 26, HOUR * 6, HOUR * 4).unwrap();
    let secrets = installation.own.api::<Secret>();
    let mut replicas = [installation.keeper(), installation.keeper()];
    let mut cas = Vec::new();
    for _ in 0..30 {
        let [one, other] = &mut replicas;
        tokio::join!(settle(one), settle(other));

        let ca = secrets.get(&installation.ca_name()).await.unwrap();
        let tls = secrets.get(&installation.tls_name()).await.unwrap();
        let (signing, served) = (entry(&ca, "ca.crt"), entry(&tls, "tls.crt"));
        assert!(trusts(&signing, &served, HOST, &time.clock()), "the CA that is stored has signed it");
        for namespace in [&installation.own, &installation.producer] {
            let published = bundle(&bundles(namespace).get(&installation.ca_name()).await.unwrap());
            assert_eq!(published, entry(&tls, "ca.crt"));
            for part in ["ca.crt", "next.crt", "retired.crt"] {
                assert!(published.contains(&entry(&ca, part)), "{part} is published");
            }
        }
        if cas.last() != Some(&signing) {
            assert!(!cas.contains(&signing), "no CA comes back");
            cas.push(signing);
        }
        time.advance(HOUR);
    }
    assert_eq!(cas.len(), 3, "as many as one replica would have had");
}
