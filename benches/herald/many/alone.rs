//! The limit: plain publishes of as many bytes as an event has, to a stream like Herald's log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use futures::StreamExt as _;

/// What an event of the load takes, with its envelope.
const BYTES: usize = 800;
/// Publishes that wait for their acknowledgement: as many as requests wait at a dispatcher.
const IN_FLIGHT: usize = 64;
const LONG: Duration = Duration::from_secs(3);

/// A stream that three servers keep, of 64 MB at most.
pub struct Alone(jetstream::Context);

impl Alone {
    pub async fn prepare(urls: &str) -> Self {
        let servers: Vec<&str> = urls.split(',').collect();
        let context = jetstream::new(async_nats::connect(servers).await.unwrap());
        let config = stream::Config {
            name: "ALONE".to_owned(),
            subjects: vec!["alone".to_owned()],
            num_replicas: 3,
            max_bytes: 64 << 20,
            ..stream::Config::default()
        };
        // Servers that have just begun have no leader.
        let limit = Instant::now() + Duration::from_mins(2);
        while let Err(error) = context.get_or_create_stream(config.clone()).await {
            assert!(Instant::now() < limit, "{error}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Self(context)
    }

    /// Acknowledged publishes a second, as many as go.
    pub async fn rate(&self) -> f64 {
        let (body, count) = (Bytes::from(vec![b'x'; BYTES]), AtomicU64::new(0));
        let begun = Instant::now();
        futures::stream::iter(0..IN_FLIGHT)
            .for_each_concurrent(None, async |_| {
                while begun.elapsed() < LONG {
                    self.0.publish("alone", body.clone()).await.unwrap().await.unwrap();
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
            .await;
        count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
    }
}
