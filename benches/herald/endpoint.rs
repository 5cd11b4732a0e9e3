//! An endpoint with moods, which keeps what it has taken.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};

use super::sink::{number_after, proof};
use super::support::certificates::Files;
use super::support::server;

/// What comes of a delivery. A challenge is met in every mood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// 200
    Takes,
    /// 500
    Fails,
    /// No answer.
    Hangs,
    /// The connection is reset.
    Resets,
    /// 410
    Gone,
}

/// One endpoint, on a port of its own.
pub struct Endpoint {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    mood: Mutex<Mood>,
    taken: Mutex<Taken>,
    replayed: AtomicU64,
}

/// The numbers of the events that were answered with 200.
struct Taken {
    numbers: Vec<bool>,
    /// In the order in which they came first.
    order: Vec<u64>,
    repeats: u64,
    last: Instant,
    silence: Duration,
}

impl Endpoint {
    /// Starts one that takes everything.
    pub async fn start(files: &Files) -> Self {
        let shared = Arc::new(Shared {
            mood: Mutex::new(Mood::Takes),
            taken: Mutex::new(Taken::new()),
            replayed: AtomicU64::new(0),
        });
        let answering = shared.clone();
        // What is closed is reset: only in that mood, or when nobody listens any more.
        let reset_at_close = |stream: &tokio::net::TcpStream| {
            stream.set_nodelay(true).unwrap();
            stream.set_zero_linger().unwrap();
        };
        let answer = move |request| answer(request, answering.clone());
        let address = server::start_with(files.server(), reset_at_close, answer).await;
        Self { port: address.port(), shared }
    }

    pub fn be(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }

    /// How many events it has taken, and how often one that it had.
    pub fn taken(&self) -> (u64, u64) {
        let taken = self.shared.taken.lock().unwrap();
        (taken.order.len() as u64, taken.repeats)
    }

    /// How many of what it has taken came from a Replay.
    pub fn replayed(&self) -> u64 {
        self.shared.replayed.load(Ordering::Relaxed)
    }

    /// Which of these events it has not taken.
    pub fn missing(&self, of: Range<u64>) -> Vec<u64> {
        let taken = self.shared.taken.lock().unwrap();
        let has = |number: u64| taken.numbers.get(usize::try_from(number).unwrap()).copied();
        of.filter(|&number| has(number) != Some(true)).collect()
    }

    /// What it has taken, in the order in which it came first.
    pub fn order(&self) -> Vec<u64> {
        self.shared.taken.lock().unwrap().order.clone()
    }

    /// The longest time in which nothing came, since this was asked last.
    pub fn take_silence(&self) -> Duration {
        let mut taken = self.shared.taken.lock().unwrap();
        let silence = taken.silence.max(taken.last.elapsed());
        (taken.silence, taken.last) = (Duration::ZERO, Instant::now());
        silence
    }
}

/// The connection is to be closed.
#[derive(Debug, thiserror::Error)]
#[error("reset")]
struct Reset;

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Full<Bytes>>, Reset> {
    if request.method() == Method::GET {
        return Ok(proof(&request));
    }
    let mood = *shared.mood.lock().unwrap();
    let replayed = request.headers().contains_key("herald-replay");
    let Ok(body) = request.into_body().collect().await else { return Err(Reset) };
    let mut response = Response::new(Full::default());
    match mood {
        Mood::Takes => {
            let number = number_after(&body.to_bytes(), b"\"number\":").unwrap();
            shared.taken.lock().unwrap().take(number);
            shared.replayed.fetch_add(u64::from(replayed), Ordering::Relaxed);
        }
        Mood::Fails => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
        Mood::Hangs => std::future::pending().await,
        Mood::Resets => return Err(Reset),
        Mood::Gone => *response.status_mut() = StatusCode::GONE,
    }
    Ok(response)
}

impl Taken {
    fn new() -> Self {
        Self {
            numbers: Vec::new(),
            order: Vec::new(),
            repeats: 0,
            last: Instant::now(),
            silence: Duration::ZERO,
        }
    }

    fn take(&mut self, number: u64) {
        let at = usize::try_from(number).unwrap();
        if self.numbers.len() <= at {
            self.numbers.resize(at + 1, false);
        }
        self.silence = self.silence.max(self.last.elapsed());
        self.last = Instant::now();
        if std::mem::replace(&mut self.numbers[at], true) {
            self.repeats += 1;
        } else {
            self.order.push(number);
        }
    }
}
