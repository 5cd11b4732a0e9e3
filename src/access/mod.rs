//! Who may do what: the caller is a Kubernetes identity, and RBAC decides.
//!
//! ```text
//! bearer token, namespace, action ─> cache ─┬─ known ─────────────────────────────────────> verdict
//!                                           ├─ a token that cannot be good ──────────────> 401
//!                                           ├─ let in lately ─> stripe ─┐
//!                                           └─ a stranger ────> stripe ─┴─> Review ─> cache ─┘
//! ```
//!
//! **Guarantees.** Fails closed: without an answer of the API server that is
//! younger than [`Lifetimes::allowed`], and without a token that is in date,
//! nobody is let in. Of the callers that miss the cache for the same token,
//! namespace and action at one time, one asks; the others get its verdict. At most
//! 64 reviews of callers that were let in lately run at one time, and
//! 16 of all others: however many knock with tokens that they made up,
//! those wait among themselves. Of a token that does not even say that it is for
//! this Herald, the API server is not asked.
//!
//! **Assumes.** The cache holds no token, only a hash with a key of this
//! process, so neither a dump nor a guess of a hash lets anybody in.

mod action;
mod cache;
mod cluster;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod metrics;
pub mod problem;
mod token;

use std::array;
use std::future::Future;
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

pub use self::action::Action;
use self::cache::Cache;
pub use self::cluster::ClusterReview;
use self::metrics::Authentication;
pub use self::metrics::Metrics;
pub use self::problem::Denied;
use crate::model::Clock;

/// The most reviews at one time of callers that were let in lately.
const STRIPES: usize = 64;
/// The most reviews at one time of callers that were not.
const STRANGERS: usize = 16;
/// How long a caller that was let in is no stranger.
const ACQUAINTANCE: Duration = Duration::from_hours(1);
/// The most verdicts that are kept; some 100 bytes each.
const CACHE_ENTRIES: usize = 16_384;
/// No token is longer; the API server's own limit on headers is not far above.
const MAX_TOKEN_BYTES: usize = 16 << 10;

/// What the cluster says about a token in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The caller may do it in the namespace.
    Allowed,
    /// The token is not good, or is not meant for this Herald.
    Unauthenticated,
    /// The token is good, and RBAC does not let its owner do it.
    Forbidden {
        /// Who it is, as the API server names it.
        user: String,
    },
    /// The API server cannot be asked now.
    Unavailable,
}

/// Asks whether the owner of a token may do something in a namespace.
pub trait Review: Send + Sync + 'static {
    /// Whether a token is worth asking about, by what it says itself: `false`
    /// only where the answer is sure to be [`Verdict::Unauthenticated`].
    fn may_be_good(&self, _token: &str) -> bool {
        true
    }

    /// Asks once; [`Verdict::Unavailable`] where there is no answer.
    fn review(&self, token: &str, namespace: &str, action: Action) -> impl Future<Output = Verdict> + Send;
}

/// For so long at most a verdict is good: what is taken away takes effect
/// within a minute, with the ten seconds that the API server itself keeps a token.
pub const LONGEST_VERDICT: Duration = Duration::from_secs(45);

/// How long verdicts are good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of a permission: what is taken away takes effect within this. No longer
    /// than the token itself, nor than [`LONGEST_VERDICT`].
    pub allowed: Duration,
    /// Of a refusal: what is granted takes effect within this.
    pub refused: Duration,
    /// Of the finding that the API server is away.
    pub unavailable: Duration,
    /// How long a caller waits for the API server.
    pub review: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            allowed: LONGEST_VERDICT,
            refused: Duration::from_secs(5),
            unavailable: Duration::from_secs(1),
            review: Duration::from_secs(5),
        }
    }
}

/// Decides who may do what, and remembers it for a while.
#[derive(Debug)]
pub struct Authenticator<R> {
    review: R,
    lifetimes: Lifetimes,
    clock: Clock,
    key: [u8; 32],
    cache: std::sync::Mutex<Cache<Verdict>>,
    /// Who was let in lately.
    acquainted: std::sync::Mutex<Cache<()>>,
    stripes: [Mutex<()>; STRIPES],
    strangers: [Mutex<()>; STRANGERS],
    metrics: Metrics,
}

impl<R: Review> Authenticator<R> {
    /// An authenticator that knows nobody yet. The clock is for the expiry of
    /// tokens; lifetimes run on one that never steps.
    pub fn new(review: R, lifetimes: Lifetimes, clock: Clock, metrics: Metrics) -> Self {
        Self {
            review,
            lifetimes,
            clock,
            key: rand::random(),
            cache: std::sync::Mutex::new(Cache::new(CACHE_ENTRIES)),
            acquainted: std::sync::Mutex::new(Cache::new(CACHE_ENTRIES)),
            stripes: array::from_fn(|_| Mutex::new(())),
            strangers: array::from_fn(|_| Mutex::new(())),
            metrics,
        }
    }

    /// Lets in whoever sends these headers, if they may do `action` in `namespace`.
    ///
    /// # Errors
    /// They may not, or it cannot be told.
    pub async fn admit(&self, headers: &HeaderMap, namespace: &str, action: Action) -> Result<(), Denied> {
        let token = bearer(headers).ok_or(Denied::NoToken)?;
        match self.authorize(token, namespace, action).await {
            Verdict::Allowed => Ok(()),
            Verdict::Unauthenticated => Err(Denied::BadToken),
            Verdict::Forbidden { user } => {
                Err(Denied::Forbidden { user, action, namespace: namespace.to_owned() })
            }
            Verdict::Unavailable => Err(Denied::Unavailable),
        }
    }

    /// Whether the owner of `token` may do `action` in `namespace`.
    pub async fn authorize(&self, token: &str, namespace: &str, action: Action) -> Verdict {
        if token.len() > MAX_TOKEN_BYTES {
            return Verdict::Unauthenticated;
        }
        let key = self.hash(token, namespace, action);
        if let Some(verdict) = self.cached(&key) {
            self.metrics.authentication(Authentication::Hit);
            return verdict;
        }
        if !self.review.may_be_good(token) {
            self.metrics.authentication(Authentication::Unfit);
            return Verdict::Unauthenticated;
        }
        self.metrics.authentication(Authentication::Miss);
        let deadline = Instant::now() + self.lifetimes.review;
        // A caller that goes away gives its stripe to the next one.
        let asked = timeout_at(deadline, async {
            let _stripe = match self.stripe(&key) {
                Some(stripe) => stripe.lock().await,
                None => return Verdict::Unavailable,
            };
            if let Some(verdict) = self.cached(&key) {
                return verdict;
            }
            let verdict = timeout_at(deadline, self.review.review(token, namespace, action))
                .await
                .unwrap_or(Verdict::Unavailable);
            self.remember(key, token, &verdict);
            verdict
        });
        asked.await.unwrap_or(Verdict::Unavailable)
    }

    fn cached(&self, key: &[u8; 32]) -> Option<Verdict> {
        locked(&self.cache, |cache| cache.get(key, Instant::now()))
    }

    /// What the caller shares with some others of its kind while it is asked about.
    fn stripe(&self, key: &[u8; 32]) -> Option<&Mutex<()>> {
        let acquainted = locked(&self.acquainted, |cache| cache.get(key, Instant::now())).is_some();
        let stripes = if acquainted { &self.stripes[..] } else { &self.strangers[..] };
        stripes.get(usize::from(key[0]) % stripes.len())
    }

    fn remember(&self, key: [u8; 32], token: &str, verdict: &Verdict) {
        let lifetime = match verdict {
            Verdict::Allowed => match token::expiry(token) {
                Some(expiry) => self.lifetimes.allowed.min(expiry.since(self.clock.now())),
                None => self.lifetimes.allowed,
            },
            Verdict::Unauthenticated | Verdict::Forbidden { .. } => self.lifetimes.refused,
            Verdict::Unavailable => {
                self.metrics.authentication(Authentication::Unavailable);
                self.lifetimes.unavailable
            }
        };
        let now = Instant::now();
        locked(&self.cache, |cache| cache.put(key, verdict.clone(), now + lifetime, now));
        if *verdict == Verdict::Allowed {
            locked(&self.acquainted, |cache| cache.put(key, (), now + ACQUAINTANCE, now));
        }
    }

    fn hash(&self, token: &str, namespace: &str, action: Action) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(self.key);
        let Action { verb, resource, subresource } = action;
        for part in [namespace, verb, resource, subresource.unwrap_or_default()] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.update(token);
        hasher.finalize().into()
    }
}

/// A panic within leaves at worst an entry too few.
fn locked<V, T>(cache: &std::sync::Mutex<Cache<V>>, act: impl FnOnce(&mut Cache<V>) -> T) -> T {
    act(&mut cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// The token of a header `Authorization: Bearer …`; only where there is one such header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).into_iter();
    let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests;
