//! From a request to its answer: the paths, who may, how many, how long.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::routing::{delete, get, post};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use super::problem::Problem;
use super::{Metrics, PLACES, PLACES_OF_EACH, dead_letters, event, listing, relay, test};
use crate::access::{Action, Authenticator, Review};
use crate::dispatch::Errands;
use crate::ingest::Others;
use crate::journal::Inspect;
use crate::journal::calendar::Calendar;
use crate::model::{Clock, WebhookUid};
use crate::subscriptions::{Known, ObjectName, Subscriptions, View};
use crate::turns::{Turn, Turns};

/// No answer takes longer: a million deliveries are looked through in some seconds.
const LONGEST: Duration = Duration::from_mins(1);
/// How long a question waits for a place.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the API works with.
pub struct Surroundings<J, R> {
    /// Who may do what.
    pub authenticator: Arc<Authenticator<R>>,
    /// What is asked.
    pub journal: J,
    /// The Webhooks.
    pub subscriptions: Subscriptions,
    /// The way to an endpoint.
    pub errands: Errands,
    /// The time of day.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
}

/// What every handler has.
pub(super) struct Api<J, R> {
    around: Surroundings<J, R>,
    turns: Turns,
}

/// Shared by all handlers.
pub(super) type Shared<J, R> = axum::extract::State<Arc<Api<J, R>>>;

/// The management API, to be put beside ingestion.
#[derive(Clone)]
pub struct Management {
    router: Router,
    metrics: Metrics,
    /// For what other dispatchers ask.
    relayed: Arc<dyn Relayed>,
}

/// What other dispatchers ask, of whatever journal.
trait Relayed: Send + Sync {
    fn answer(self: Arc<Self>, shutdown: CancellationToken) -> BoxFuture<'static, ()>;
}

impl<J: Inspect, R: Review> Relayed for Api<J, R> {
    fn answer(self: Arc<Self>, shutdown: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(relay::answer(self, shutdown))
    }
}

impl Management {
    /// Puts the paths together.
    pub fn new<J: Inspect, R: Review>(around: Surroundings<J, R>) -> Self {
        let metrics = around.metrics.clone();
        let api = Arc::new(Api { around, turns: Turns::new(PLACES, PLACES_OF_EACH) });
        let of_webhook = Router::new()
            .route("/deadletters", get(dead_letters::list::<J, R>).delete(dead_letters::delete_all::<J, R>))
            .route("/deadletters/{letter}", delete(dead_letters::delete_one::<J, R>))
            .route("/test", post(test::run::<J, R>));
        let router = Router::new()
            .route("/v1/namespaces/{namespace}/events", get(listing::list::<J, R>))
            .route("/v1/namespaces/{namespace}/events/{id}", get(event::get::<J, R>))
            .nest("/v1/namespaces/{namespace}/webhooks/{webhook}", of_webhook)
            .fallback(async || Problem::NoSuchPath)
            .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
            .with_state(Arc::clone(&api));
        Self { router, metrics, relayed: api }
    }

    /// Does what other dispatchers ask of the lanes that run here, until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        self.relayed.answer(shutdown).await;
    }
}

impl Others for Management {
    fn answer(&self, request: Request<Incoming>) -> BoxFuture<'_, Response<Full<Bytes>>> {
        let mut router = self.router.clone();
        Box::pin(async move {
            let request = request.map(Body::new);
            let late = || {
                let message =
                    "the answer took too long; ask for less, such as one webhook and a shorter time";
                axum::response::IntoResponse::into_response(Problem::Unavailable(message.to_owned()))
            };
            let response = match timeout(LONGEST, router.call(request)).await {
                Ok(Ok(response)) => response,
                Err(_elapsed) => late(),
            };
            self.metrics.answered(response.status());
            let (parts, body) = response.into_parts();
            // It is in memory already.
            let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
            Response::from_parts(parts, Full::new(body))
        })
    }
}

impl<J: Inspect, R: Review> Api<J, R> {
    /// Lets the caller in.
    pub(super) async fn let_in(
        &self,
        headers: &HeaderMap,
        namespace: &str,
        action: Action,
    ) -> Result<(), Problem> {
        self.around.authenticator.admit(headers, namespace, action).await?;
        if !self.around.subscriptions.is_ready() {
            return Err(Problem::Unavailable(
                "Herald is starting and has not read the Webhooks yet".to_owned(),
            ));
        }
        Ok(())
    }

    /// Lets the caller in, and waits for the turn of a question that takes the disk.
    pub(super) async fn admit(
        &self,
        headers: &HeaderMap,
        namespace: &str,
        action: Action,
    ) -> Result<Turn, Problem> {
        self.let_in(headers, namespace, action).await?;
        timeout(PATIENCE, self.turns.take(namespace)).await.map_err(|_elapsed| {
            let at_most = format!("{PLACES} of all namespaces and {PLACES_OF_EACH} of one");
            Problem::Busy(format!("other questions are being answered, at most {at_most} at one time"))
        })
    }

    /// Whether the caller may do something more.
    pub(super) async fn may(
        &self,
        headers: &HeaderMap,
        namespace: &str,
        action: Action,
    ) -> Result<(), Problem> {
        Ok(self.around.authenticator.admit(headers, namespace, action).await?)
    }

    /// A webhook of this name.
    pub(super) fn webhook(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<(WebhookUid, Option<Arc<Known>>), Problem> {
        let subscriptions = &self.around.subscriptions;
        let uid = subscriptions.named(&ObjectName::new(namespace, name)).ok_or_else(|| {
            Problem::NotFound(format!(
                "there is no Webhook {name:?} in the namespace {namespace:?}, or Herald does not serve that namespace"
            ))
        })?;
        Ok((uid, self.known(uid)))
    }

    /// What is known of a webhook.
    pub(super) fn known(&self, webhook: WebhookUid) -> Option<Arc<Known>> {
        match self.around.subscriptions.view(webhook) {
            View::Known(known) => Some(known),
            View::Unknown | View::Unreadable(_) | View::Gone => None,
        }
    }

    pub(super) const fn around(&self) -> &Surroundings<J, R> {
        &self.around
    }

    pub(super) fn calendar(&self) -> Calendar {
        self.around.journal.calendar()
    }
}
