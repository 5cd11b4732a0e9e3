//! The authenticator with a cluster that a test scripts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use tokio::sync::Semaphore;

use super::*;
use crate::model::{ManualClock, Timestamp};

/// Gives the same verdict again and again; each answer takes a permit.
#[derive(Clone)]
struct Scripted {
    verdict: Arc<std::sync::Mutex<Verdict>>,
    asked: Arc<AtomicUsize>,
    permits: Arc<Semaphore>,
}

impl Scripted {
    fn new(verdict: Verdict) -> Self {
        Self {
            verdict: Arc::new(std::sync::Mutex::new(verdict)),
            asked: Arc::default(),
            permits: Arc::new(Semaphore::new(1000)),
        }
    }

    fn now_says(&self, verdict: Verdict) {
        *self.verdict.lock().unwrap() = verdict;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Review for Scripted {
    fn may_be_good(&self, token: &str) -> bool {
        !token.starts_with("unfit")
    }

    async fn review(&self, token: &str, _: &str, _: Action) -> Verdict {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if token.starts_with("made-up") {
            std::future::pending::<()>().await;
        }
        self.permits.acquire().await.unwrap().forget();
        self.verdict.lock().unwrap().clone()
    }
}

fn authenticator(review: &Scripted) -> Arc<Authenticator<Scripted>> {
    let clock = ManualClock::new(Timestamp::from_millis(1_000_000));
    Arc::new(Authenticator::new(review.clone(), Lifetimes::default(), clock.clock(), Metrics::default()))
}

fn forbidden() -> Verdict {
    Verdict::Forbidden { user: "u".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn each_verdict_is_asked_for_again_when_its_time_is_over() {
    for (verdict, seconds) in
        [(Verdict::Allowed, 45), (Verdict::Unauthenticated, 5), (forbidden(), 5), (Verdict::Unavailable, 1)]
    {
        let review = Scripted::new(verdict.clone());
        let authenticator = authenticator(&review);
        let lifetime = Duration::from_secs(seconds);
        assert_eq!(authenticator.authorize("t", "ns", Action::SEND_EVENTS).await, verdict);
        tokio::time::advance(lifetime.saturating_sub(Duration::from_millis(1))).await;
        assert_eq!(authenticator.authorize("t", "ns", Action::SEND_EVENTS).await, verdict);
        assert_eq!(review.asked(), 1, "{verdict:?}");
        review.now_says(forbidden());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(authenticator.authorize("t", "ns", Action::SEND_EVENTS).await, forbidden());
        assert_eq!(review.asked(), 2, "{verdict:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_verdict_is_for_one_token_in_one_namespace() {
    let review = Scripted::new(Verdict::Allowed);
    let authenticator = authenticator(&review);
    for (token, namespace) in [("t", "ns"), ("t", "ns2"), ("t2", "ns"), ("2t", "ns"), ("s2", "n")] {
        authenticator.authorize(token, namespace, Action::SEND_EVENTS).await;
    }
    assert_eq!(review.asked(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_permission_ends_with_the_token() {
    let review = Scripted::new(Verdict::Allowed);
    let authenticator = authenticator(&review);
    // The clock stands at second 1,000.
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"exp":1010}"#);
    let token = format!("e30.{claims}.c2ln");
    authenticator.authorize(&token, "ns", Action::SEND_EVENTS).await;
    tokio::time::advance(Duration::from_secs(9)).await;
    authenticator.authorize(&token, "ns", Action::SEND_EVENTS).await;
    assert_eq!(review.asked(), 1);
    tokio::time::advance(Duration::from_secs(1)).await;
    authenticator.authorize(&token, "ns", Action::SEND_EVENTS).await;
    assert_eq!(review.asked(), 2);
}

/// It is remembered for less, or not at all, and never for longer: the answer is the API server's.
#[tokio::test(start_paused = true)]
async fn a_time_of_day_that_is_wrong_by_a_day_lets_nobody_in_for_longer_and_nobody_out() {
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"exp":1000003600}"#);
    let token = format!("e30.{claims}.c2ln");
    let now = Timestamp::from_millis(1_000_000_000_000);
    let day = Duration::from_hours(24);
    for (now, remembered) in [(now, 45), (now.before(day), 45), (now.after(day), 0)] {
        let review = Scripted::new(Verdict::Allowed);
        let clock = ManualClock::new(now);
        let authenticator =
            Authenticator::new(review.clone(), Lifetimes::default(), clock.clock(), Metrics::default());
        assert_eq!(
            authenticator.authorize(&token, "ns", Action::SEND_EVENTS).await,
            Verdict::Allowed,
            "{now}"
        );
        assert_eq!(
            authenticator.authorize(&token, "ns", Action::SEND_EVENTS).await,
            Verdict::Allowed,
            "{now}"
        );
        assert_eq!(review.asked(), if remembered == 0 { 2 } else { 1 }, "{now}");
        review.now_says(forbidden());
        tokio::time::advance(Duration::from_secs(remembered)).await;
        assert_eq!(authenticator.authorize(&token, "ns", Action::SEND_EVENTS).await, forbidden(), "{now}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_those_who_miss_together_one_asks() {
    let review = Scripted { permits: Arc::new(Semaphore::new(0)), ..Scripted::new(Verdict::Allowed) };
    let authenticator = authenticator(&review);
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let authenticator = Arc::clone(&authenticator);
            tokio::spawn(async move { authenticator.authorize("t", "ns", Action::SEND_EVENTS).await })
        })
        .collect();
    tokio::task::yield_now().await;
    review.permits.add_permits(1);
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Verdict::Allowed);
    }
    assert_eq!(review.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn when_the_one_who_asks_goes_away_the_next_one_asks() {
    let review = Scripted { permits: Arc::new(Semaphore::new(0)), ..Scripted::new(Verdict::Allowed) };
    let authenticator = authenticator(&review);
    let ask = || {
        let authenticator = Arc::clone(&authenticator);
        tokio::spawn(async move { authenticator.authorize("t", "ns", Action::SEND_EVENTS).await })
    };
    let first = ask();
    tokio::task::yield_now().await;
    let second = ask();
    tokio::task::yield_now().await;
    assert_eq!(review.asked(), 1);
    first.abort();
    review.permits.add_permits(1);
    assert_eq!(second.await.unwrap(), Verdict::Allowed);
    assert_eq!(review.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_hangs_lets_nobody_in() {
    let review = Scripted { permits: Arc::new(Semaphore::new(0)), ..Scripted::new(Verdict::Allowed) };
    let authenticator = authenticator(&review);
    let started = Instant::now();
    assert_eq!(authenticator.authorize("t", "ns", Action::SEND_EVENTS).await, Verdict::Unavailable);
    assert_eq!(started.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_token_beyond_all_bounds_is_not_looked_at() {
    let review = Scripted::new(Verdict::Allowed);
    let verdict =
        authenticator(&review).authorize(&"x".repeat(MAX_TOKEN_BYTES + 1), "ns", Action::SEND_EVENTS).await;
    assert_eq!((verdict, review.asked()), (Verdict::Unauthenticated, 0));
}

#[tokio::test(start_paused = true)]
async fn the_api_server_is_not_asked_about_a_token_that_cannot_be_good() {
    let review = Scripted::new(Verdict::Allowed);
    let authenticator = authenticator(&review);
    for number in 0..1000 {
        let verdict = authenticator.authorize(&format!("unfit{number}"), "ns", Action::SEND_EVENTS).await;
        assert_eq!(verdict, Verdict::Unauthenticated);
    }
    assert_eq!(review.asked(), 0);
    assert_eq!(authenticator.authorize("fit", "ns", Action::SEND_EVENTS).await, Verdict::Allowed);
}

/// The strangers' reviews hang; who was let in before is asked about all the same.
#[tokio::test(start_paused = true)]
async fn strangers_do_not_delay_who_was_let_in_before() {
    let review = Scripted::new(Verdict::Allowed);
    let authenticator = authenticator(&review);
    let regulars: Vec<_> = (0..100).map(|number| format!("regular{number}")).collect();
    for token in &regulars {
        authenticator.authorize(token, "ns", Action::SEND_EVENTS).await;
    }
    tokio::time::advance(Lifetimes::default().allowed).await;
    let strangers: Vec<_> = (0..1000)
        .map(|number| {
            let authenticator = Arc::clone(&authenticator);
            tokio::spawn(async move {
                authenticator.authorize(&format!("made-up{number}"), "ns", Action::SEND_EVENTS).await
            })
        })
        .collect();
    // The runtime polls some at a time.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(review.asked() - regulars.len(), STRANGERS, "so many are asked about at one time");
    let begun = Instant::now();
    for token in &regulars {
        assert_eq!(authenticator.authorize(token, "ns", Action::SEND_EVENTS).await, Verdict::Allowed);
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(review.asked(), 2 * regulars.len() + STRANGERS);
    // Nor do they wait for ever themselves.
    for stranger in strangers {
        assert_eq!(stranger.await.unwrap(), Verdict::Unavailable);
    }
}

#[test]
fn a_token_is_read_from_one_bearer_header() {
    let token = |values: &[&'static str]| {
        let values = values.iter().map(|value| (AUTHORIZATION, http::HeaderValue::from_static(value)));
        bearer(&values.collect()).map(str::to_owned)
    };
    assert_eq!(token(&["Bearer abc"]).as_deref(), Some("abc"));
    assert_eq!(token(&["bearer  abc "]).as_deref(), Some("abc"));
    for values in [&[][..], &["Bearer"], &["Bearer "], &["Basic abc"], &["abc"]] {
        assert_eq!(token(values), None, "{values:?}");
    }
    let mut twice = HeaderMap::new();
    for value in ["Bearer a", "Bearer b"] {
        twice.append(AUTHORIZATION, http::HeaderValue::from_static(value));
    }
    assert_eq!(bearer(&twice), None);
}

#[tokio::test(start_paused = true)]
async fn a_right_to_one_thing_is_none_to_another() {
    let review = Scripted::new(Verdict::Allowed);
    let authenticator = authenticator(&review);
    let actions = [
        Action::SEND_EVENTS,
        Action::GET_EVENT,
        Action::LIST_EVENTS,
        Action::GET_PAYLOAD,
        Action::LIST_DEAD_LETTERS,
        Action::DELETE_DEAD_LETTERS,
        Action::TEST_WEBHOOK,
    ];
    for (asked, action) in (1..).zip(actions) {
        for _ in 0..2 {
            authenticator.authorize("t", "ns", action).await;
            assert_eq!(review.asked(), asked, "{action}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_not_let_in_learns_why_and_what_it_takes() {
    let mut with_token = HeaderMap::new();
    with_token.insert(AUTHORIZATION, http::HeaderValue::from_static("Bearer t"));
    let denied = async |verdict: Verdict, headers: &HeaderMap| {
        let review = Scripted::new(verdict);
        let denied = authenticator(&review).admit(headers, "ns", Action::GET_PAYLOAD).await.unwrap_err();
        let response = {
            let mut response = problem::response(denied.kind(), denied.to_string(), None);
            denied.add_headers(response.headers_mut());
            response
        };
        let header =
            |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), header("www-authenticate"), header("retry-after"), denied.to_string())
    };
    let (status, challenge, _, _) = denied(Verdict::Allowed, &HeaderMap::new()).await;
    assert_eq!((status, challenge.as_deref()), (401, Some("Bearer realm=\"herald\"")));
    let (status, challenge, _, _) = denied(Verdict::Unauthenticated, &with_token).await;
    assert_eq!(
        (status, challenge.as_deref()),
        (401, Some("Bearer realm=\"herald\", error=\"invalid_token\""))
    );
    let (status, _, _, message) = denied(forbidden(), &with_token).await;
    assert_eq!(status, 403);
    assert!(
        message.starts_with("\"u\" may not get userevents.herald.dev/payload in the namespace \"ns\""),
        "{message}"
    );
    let (status, _, retry, _) = denied(Verdict::Unavailable, &with_token).await;
    assert_eq!((status, retry.as_deref()), (503, Some("1")));
}
