use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Mutex;

use futures::stream;
use http::StatusCode;
use http_body_util::{Full, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::subscriptions::{Materials, Namespaces, Subscriptions};

const MINUTE: Duration = Duration::from_mins(1);

/// What the API server does not do, for paths that end like this.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Nothing,
    /// Herald has no right to it any more.
    Refuses(&'static str),
    /// The second page of a list never comes.
    BreaksListsOf(&'static str),
}

/// An API server without objects, whose watches are confirmed once a minute and end after four.
#[derive(Clone)]
struct ApiServer(Arc<Mutex<Fault>>);

impl ApiServer {
    fn answer(&self, path: &str, query: &str) -> (StatusCode, Option<Value>) {
        let failed = |code: StatusCode| {
            let status =
                json!({"kind": "Status", "status": "Failure", "code": code.as_u16(), "message": "no"});
            (code, Some(status))
        };
        let list = |more: &str| json!({"metadata": {"resourceVersion": "7", "continue": more}, "items": []});
        match *self.0.lock().unwrap() {
            Fault::Refuses(which) if path.ends_with(which) => failed(StatusCode::FORBIDDEN),
            Fault::BreaksListsOf(which) if path.ends_with(which) && query.contains("continue=") => {
                failed(StatusCode::TOO_MANY_REQUESTS)
            }
            Fault::BreaksListsOf(which) if path.ends_with(which) => (StatusCode::OK, Some(list("more"))),
            Fault::Nothing | Fault::Refuses(_) | Fault::BreaksListsOf(_) if query.contains("watch=true") => {
                (StatusCode::OK, None)
            }
            Fault::Nothing | Fault::Refuses(_) | Fault::BreaksListsOf(_) => (StatusCode::OK, Some(list(""))),
        }
    }
}

impl Service<Request<Body>> for ApiServer {
    type Response = Response<UnsyncBoxBody<Bytes, Infallible>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (status, body) = self.answer(request.uri().path(), request.uri().query().unwrap_or_default());
        let body = match body {
            Some(body) => Full::from(body.to_string()).boxed_unsync(),
            None => bookmarks().boxed_unsync(),
        };
        ready(Ok(Response::builder().status(status).body(body).unwrap()))
    }
}

fn bookmarks() -> impl hyper::body::Body<Data = Bytes, Error = Infallible> + Send {
    let bookmark = json!({
        "type": "BOOKMARK",
        "object": {"apiVersion": "v1", "kind": "Any", "metadata": {"resourceVersion": "8"}},
    });
    StreamBody::new(stream::unfold(0, move |told| {
        let line = format!("{bookmark}\n");
        async move {
            sleep(MINUTE).await;
            (told < 4).then(|| (Ok(Frame::data(line.into())), told + 1))
        }
    }))
}

/// Everything that is watched, in the namespaces `a` and `b`.
struct Scene {
    fault: Arc<Mutex<Fault>>,
    materials: Materials,
    table: Subscriptions,
    shutdown: CancellationToken,
}

impl Scene {
    fn new(fault: Fault) -> Self {
        let fault = Arc::new(Mutex::new(fault));
        let client = Client::new(ApiServer(fault.clone()), "default");
        let namespaces = Namespaces::new(vec!["a".to_owned(), "b".to_owned()]);
        let shutdown = CancellationToken::new();
        let materials = Materials::new(&namespaces);
        tokio::spawn(materials.clone().run(client.clone(), shutdown.clone()));
        let table = Subscriptions::new(namespaces, materials.clone());
        tokio::spawn(table.clone().run(client, shutdown.clone()));
        Self { fault, materials, table, shutdown }
    }

    fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

#[tokio::test(start_paused = true)]
async fn a_view_is_as_old_as_the_watch_that_has_been_silent_for_longest_and_only_in_its_namespace() {
    for which in ["/namespaces/a/secrets", "/namespaces/a/configmaps", "/namespaces/a/webhooks"] {
        let scene = Scene::new(Fault::Nothing);
        scene.table.ready().await;
        sleep(30 * MINUTE).await;
        assert!(scene.table.oldest() <= MINUTE, "{which}: quiet watches are confirmed");

        scene.set(Fault::Refuses(which));
        sleep(30 * MINUTE).await;
        assert!(scene.table.age("a") > 20 * MINUTE, "{which}: {:?}", scene.table.age("a"));
        assert!(scene.table.age("b") <= MINUTE, "{which}: another namespace goes on");
        assert_eq!(scene.table.oldest(), scene.table.age("a"));

        scene.set(Fault::Nothing);
        sleep(5 * MINUTE).await;
        assert!(scene.table.age("a") <= MINUTE, "{which}: it is well again by itself");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_never_comes_to_its_end_confirms_nothing() {
    let scene = Scene::new(Fault::BreaksListsOf("/namespaces/a/secrets"));
    sleep(30 * MINUTE).await;
    let now = Instant::now();
    assert!(scene.materials.age("a", now) >= 30 * MINUTE, "its first pages came again and again");
    assert!(scene.materials.age("b", now) <= MINUTE);
    assert!(!scene.table.is_ready());
}

#[tokio::test]
async fn a_namespace_that_nothing_is_watched_in_has_no_view_that_is_new() {
    let watched = ["team-b", "a", "team-a", "z"];
    let some = Freshness::new(Namespaces::new(watched.map(str::to_owned).to_vec()).scopes());
    let now = Instant::now();
    assert!(watched.iter().all(|namespace| some.age(namespace, now) < MINUTE));
    for other in ["", "b", "team", "team-aa", "zz"] {
        assert_eq!(some.age(other, now), Duration::MAX, "{other}");
    }
    assert!(Freshness::new(Namespaces::default().scopes()).age("b", now) < MINUTE);
}
