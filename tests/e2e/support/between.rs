//! Somebody between a process and the API server, for what only happens by
//! chance otherwise. Each request goes on as it came, with its own token.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use herald::api::Webhook;
use http::{Method, Request, Response, header};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::api::{Patch, PatchParams};
use kube::client::Body;
use kube::config::AuthInfo;
use kube::{Api, Client};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::garbling::garble;
use super::{Cluster, Namespace};

/// What happens on the way.
pub enum Mischief {
    /// This version of Herald cannot read a Webhook whose payload is `CloudEvents`.
    Garbles,
    /// Somebody edits a Webhook just before the first status is stored.
    Overtakes(Box<Overtaking>),
    /// Connections are cut and answers come late, as the test says.
    Disturbs(Arc<Disturbance>),
}

/// How bad the way is at the moment.
#[derive(Default)]
pub struct Disturbance {
    cuts: watch::Sender<()>,
    delay_millis: AtomicU64,
    blocked: AtomicBool,
}

impl Disturbance {
    /// Breaks every connection, watches among them.
    pub fn cut(&self) {
        self.cuts.send_replace(());
    }

    /// Lets no request through from now on, or lets them through again.
    pub fn block(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::Relaxed);
        self.cut();
    }

    /// Holds every request up for so long from now on.
    pub fn delay(&self, delay: Duration) {
        self.delay_millis.store(delay.as_millis().try_into().unwrap(), Ordering::Relaxed);
    }
}

/// Whose Webhook is edited, and whether it was.
pub struct Overtaking {
    webhooks: Api<Webhook>,
    path: String,
    done: AtomicBool,
}

impl Mischief {
    /// Overtakes a status of the namespace.
    pub fn overtakes(namespace: &Namespace) -> Self {
        Self::Overtakes(Box::new(Overtaking {
            webhooks: namespace.api(),
            path: format!("/apis/herald.dev/v1alpha1/namespaces/{}/webhooks/", namespace.name()),
            done: AtomicBool::new(false),
        }))
    }
}

impl Overtaking {
    async fn before(&self, request: &Request<Incoming>) {
        let name =
            request.uri().path().strip_prefix(&self.path).and_then(|rest| rest.strip_suffix("/status"));
        let Some(name) = name.filter(|_| request.method() == Method::PATCH) else { return };
        if !self.done.swap(true, Ordering::Relaxed) {
            let edit = Patch::Merge(json!({"metadata": {"annotations": {"example.com/edited": "first"}}}));
            self.webhooks.patch(name, &PatchParams::default(), &edit).await.unwrap();
        }
    }
}

/// Where a process may take the API server to be.
pub struct Between {
    address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

impl Between {
    /// In front of a cluster's API server.
    pub async fn start(cluster: &Cluster, mischief: Mischief) -> Self {
        let mut config = cluster.config();
        config.auth_info = AuthInfo::default();
        let api_server = Client::try_from(config).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, api_server, Arc::new(mischief)));
        Self { address, _server: AbortOnDropHandle::new(server) }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Until its task is aborted, which ends the connections too: the set owns them.
async fn serve(listener: TcpListener, api_server: Client, mischief: Arc<Mischief>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(serve_connection(stream, api_server.clone(), mischief.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_connection(stream: TcpStream, api_server: Client, mischief: Arc<Mischief>) {
    let service = service_fn(|request| pass(request, &api_server, &mischief));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let cut = async {
        match &*mischief {
            Mischief::Disturbs(disturbance) => drop(disturbance.cuts.subscribe().changed().await),
            Mischief::Garbles | Mischief::Overtakes(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = connection => drop(ended),
        () = cut => {}
    }
}

async fn pass(
    request: Request<Incoming>,
    api_server: &Client,
    mischief: &Mischief,
) -> Result<Response<UnsyncBoxBody<Bytes, kube::Error>>, std::io::Error> {
    let garbles = match mischief {
        Mischief::Garbles => true,
        Mischief::Overtakes(overtaking) => {
            overtaking.before(&request).await;
            false
        }
        Mischief::Disturbs(disturbance) => {
            let delay = disturbance.delay_millis.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(delay)).await;
            if disturbance.blocked.load(Ordering::Relaxed) {
                return Err(std::io::ErrorKind::ConnectionReset.into());
            }
            false
        }
    };
    let (mut head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    head.headers.remove(header::HOST);
    let request = Request::from_parts(head, Body::from(body.to_vec()));
    let mut answer = api_server.send(request).await.map_err(std::io::Error::other)?;
    // How it is cut into pieces is each connection's own affair.
    answer.headers_mut().remove(header::TRANSFER_ENCODING);
    Ok(answer.map(|body| {
        body.map_frame(move |frame| frame.map_data(|data| if garbles { garble(&data) } else { data }))
            .boxed_unsync()
    }))
}
