//! Two replicas that both act, as they may for a moment around a change of leaders.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use herald::certificates::{Keeper, Lifetimes};
use herald::model::{Clock, ManualClock};
use http::{Method, Request, Response};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::client::Body;
use kube::{Api, Client};
use tokio::sync::Mutex;
use tower_service::Service;

use super::client::trusts;
use super::installation::{HOST, Installation, settle};
use super::objects::{bundle, bundles, certificates, end, entry};

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

/// The other replica, which is faster: it does all that there is to do.
struct Other {
    keeper: Mutex<Keeper>,
    copies: Api<ConfigMap>,
    name: String,
    /// Every certificate that was ever published.
    published: std::sync::Mutex<BTreeSet<String>>,
}

impl Other {
    async fn overtake(&self) {
        settle(&mut *self.keeper.lock().await).await;
        let copy = bundle(&self.copies.get(&self.name).await.unwrap());
        self.published.lock().unwrap_or_else(PoisonError::into_inner).extend(certificates(&copy));
    }
}

/// A way to the API server on which each write is overtaken by the other replica.
#[derive(Clone)]
struct Overtaken(Client, Arc<Other>);

impl Service<Request<Body>> for Overtaken {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Self::Response, kube::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self(client, other) = self.clone();
        async move {
            if request.method() != Method::GET {
                other.overtake().await;
            }
            client.send(request).await
        }
        .boxed()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_overtaken_before_each_write_takes_back_no_ca_that_was_published() {
    let time = ManualClock::new(Clock::default().now());
    let mut installation = Installation::of_one_namespace().await;
    installation.config.clock = time.clock();
    installation.config.lifetimes = Lifetimes::new(HOUR * 26, HOUR * 6, HOUR * 4).unwrap();
    let other = Arc::new(Other {
        keeper: Mutex::new(installation.keeper()),
        copies: bundles(&installation.producer),
        name: installation.ca_name(),
        published: std::sync::Mutex::default(),
    });
    let overtaken = Overtaken(installation.cluster.client(), other.clone());
    let mut slow = installation.keeper_as(Client::new(overtaken, installation.own.name()));
    for hour in 0..30 {
        settle(&mut slow).await;
        let now = i64::try_from(time.now().as_secs()).unwrap();
        let copy = bundle(&other.copies.get(&other.name).await.unwrap());
        let published = other.published.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for certificate in published.iter().filter(|certificate| now < end(certificate)) {
            assert!(copy.contains(certificate), "a CA was taken back in hour {hour}");
        }
        time.advance(HOUR);
    }
    let published = other.published.lock().unwrap_or_else(PoisonError::into_inner).len();
    assert_eq!(published, 3, "as many as one replica would have published");
}
