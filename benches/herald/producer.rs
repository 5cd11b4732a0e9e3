//! A producer that goes on through restarts: each event is posted until it is
//! accepted, at the next dispatcher whenever one does not take it, so that every
//! number from its first on and below `accepted` was acknowledged.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::StatusCode;
use hyper::client::conn::http1::SendRequest;
use rustls::ClientConfig;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::load::PADDING;
use super::server::Bench;
use super::support::{local, try_connect};

const CONNECTIONS: usize = 4;
/// How long an answer may take before the event is posted again.
const PATIENCE: Duration = Duration::from_secs(15);
/// Events are of so many users in turn.
pub const USERS: u64 = 1_000;
const PAUSE: Duration = Duration::from_millis(100);

/// The producer that runs.
pub struct Producer {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

/// What it has done.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Events that were acknowledged: all numbers from the first on and below it.
    pub accepted: u64,
    /// Posts that were not answered with 202, and were made again.
    pub again: u64,
    /// The longest that one event had to be posted.
    pub longest: Duration,
    /// When each was.
    pub posts: Vec<Post>,
}

/// One event and when it was posted.
#[derive(Clone, Copy, Debug)]
pub struct Post {
    pub number: u64,
    pub begun: Instant,
    pub accepted: Instant,
}

struct Shared {
    tls: Arc<ClientConfig>,
    /// Where each dispatcher listens now.
    ports: Vec<AtomicU16>,
    uri: String,
    authorization: String,
    run: String,
    ends: AtomicBool,
    next: AtomicU64,
    again: AtomicU64,
    posts: Mutex<Vec<Post>>,
}

impl Producer {
    /// Begins to post so many events a second to these ports, numbered from `first` on.
    pub fn start(bench: &Bench, run: &str, ports: &[u16], first: u64, rate: f64) -> Self {
        let token = std::fs::read_to_string(bench.directory().join("token")).unwrap();
        let shared = Arc::new(Shared {
            tls: bench.files.client(),
            ports: ports.iter().copied().map(AtomicU16::new).collect(),
            uri: format!("/v1/namespaces/{}/events", bench.cluster.namespace),
            authorization: format!("Bearer {token}"),
            run: run.to_owned(),
            ends: AtomicBool::new(false),
            next: AtomicU64::new(first),
            again: AtomicU64::new(0),
            posts: Mutex::default(),
        });
        let pause = Duration::from_secs_f64(CONNECTIONS as f64 / rate);
        let mut tasks = JoinSet::new();
        for number in 0..CONNECTIONS {
            tasks.spawn(post_steadily(shared.clone(), number % ports.len(), pause));
        }
        Self { shared, tasks }
    }

    /// A dispatcher listens elsewhere now.
    pub fn moved(&self, dispatcher: usize, port: u16) {
        self.shared.ports[dispatcher].store(port, Ordering::Relaxed);
    }

    /// Waits until what was begun is accepted, and begins nothing more.
    pub async fn end(self) -> Sent {
        self.shared.ends.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
        let posts = std::mem::take(&mut *self.shared.posts.lock().unwrap());
        Sent {
            accepted: self.shared.next.load(Ordering::Relaxed),
            again: self.shared.again.load(Ordering::Relaxed),
            longest: posts.iter().map(|post| post.accepted - post.begun).max().unwrap_or_default(),
            posts,
        }
    }
}

async fn post_steadily(shared: Arc<Shared>, mut dispatcher: usize, pause: Duration) {
    let mut at = Instant::now();
    let mut connection = None;
    while !shared.ends.load(Ordering::Relaxed) {
        tokio::time::sleep_until(at.into()).await;
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        while timeout(PATIENCE, post(&shared, dispatcher, &mut connection, number)).await
            != Ok(Some(StatusCode::ACCEPTED))
        {
            shared.again.fetch_add(1, Ordering::Relaxed);
            // Whatever it was, a new connection is a new start.
            connection = None;
            dispatcher = (dispatcher + 1) % shared.ports.len();
            tokio::time::sleep(PAUSE).await;
        }
        shared.posts.lock().unwrap().push(Post { number, begun, accepted: Instant::now() });
        // What could not be sent in time is not made up for: the load is steady.
        at = (at + pause).max(Instant::now());
    }
}

/// Posts one; the status, if there was an answer.
async fn post(
    shared: &Shared,
    dispatcher: usize,
    connection: &mut Option<SendRequest<Full<Bytes>>>,
    number: u64,
) -> Option<StatusCode> {
    if connection.is_none() {
        let address = local(shared.ports[dispatcher].load(Ordering::Relaxed));
        *connection = Some(try_connect(&shared.tls, address).await.ok()?);
    }
    let body = format!(
        r#"{{"specversion":"1.0","id":"{}-{number}","source":"/soak","type":"user.created","subject":"user-{}","data":{{"number":{number},"padding":"{}"}}}}"#,
        shared.run,
        number % USERS,
        "x".repeat(PADDING),
    );
    let request = hyper::Request::post(&shared.uri)
        .header("host", "localhost")
        .header("authorization", &shared.authorization)
        .header("content-type", "application/cloudevents+json")
        .body(Full::from(body))
        .unwrap();
    let answer = connection.as_mut()?.send_request(request).await.ok()?;
    let status = answer.status();
    answer.into_body().collect().await.ok()?;
    Some(status)
}
