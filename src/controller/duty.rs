//! What else is done by whoever leads.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

/// Work that begins with each term of leadership and ends with its token. It
/// should not end by itself: that ends the term.
#[derive(Clone)]
pub struct Duty {
    name: &'static str,
    begin: Arc<dyn Fn(CancellationToken) -> BoxFuture<'static, ()> + Send + Sync>,
}

impl Duty {
    /// Named for logs; `work` is called once a term.
    pub fn new<F, W>(name: &'static str, work: F) -> Self
    where
        F: Fn(CancellationToken) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        Self { name, begin: Arc::new(move |token| Box::pin(work(token))) }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn begin(&self, token: CancellationToken) -> BoxFuture<'static, ()> {
        (self.begin)(token)
    }
}

impl fmt::Debug for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Duty").field(&self.name).finish()
    }
}
