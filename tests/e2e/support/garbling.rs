//! An API server whose answers hold something that this version of Herald cannot read.

use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use kube::Client;
use kube::client::Body;
use tower_service::Service;

/// A client that reads `CloudEvent5` wherever the API server says `CloudEvents`.
///
/// So the object is as good as any to the real API server, which takes the
/// status that is written to it.
pub fn garbling(client: Client, namespace: &str) -> Client {
    Client::new(Garbling(client), namespace)
}

#[derive(Clone)]
struct Garbling(Client);

impl Service<Request<Body>> for Garbling {
    type Response = Response<UnsyncBoxBody<Bytes, kube::Error>>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Self::Response, kube::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let client = self.0.clone();
        async move {
            let answer = client.send(request).await?;
            Ok(answer.map(|body| body.map_frame(|frame| frame.map_data(|data| garble(&data))).boxed_unsync()))
        }
        .boxed()
    }
}

/// The same with the one word in place of the other, which is as long.
pub fn garble(data: &Bytes) -> Bytes {
    String::from_utf8_lossy(data).replace("CloudEvents", "CloudEvent5").into()
}
