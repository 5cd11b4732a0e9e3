//! The servers, a connection to them, and streams.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Stream};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions};
use serde_json::json;

use crate::meter::{Measured, Meter, repeat};
use crate::servers::{FIRST, SERVERS, Servers};
use crate::store::{Message, body, store};
use crate::{EVENT, ROW, WRITES, Write};

/// How long the servers may take to come up, and to agree on a leader.
const READY: Duration = Duration::from_mins(1);

const LOOK: Duration = Duration::from_millis(100);

/// What every measurement has.
pub struct Bench {
    pub client: Client,
    pub context: Context,
    /// The last to go.
    pub servers: Servers,
}

impl Bench {
    /// Starts servers in a folder of their own, and connects.
    pub async fn start(folder: PathBuf) -> Result<Self> {
        let servers = Servers::start(folder)?;
        let client = ConnectOptions::new()
            .retry_on_initial_connect()
            .client_capacity(1 << 16)
            .subscription_capacity(1 << 20)
            .connect(servers.url())
            .await?;
        let mut context = jetstream::new(client.clone());
        context.set_timeout(Duration::from_secs(30));
        let bench = Self { client, context, servers };
        bench.ready().await?;
        Ok(bench)
    }

    /// Which server it is.
    pub fn version(&self) -> String {
        format!("nats-server {}", self.client.server_info().version)
    }

    /// Waits until the servers make a stream.
    async fn ready(&self) -> Result<()> {
        let deadline = Instant::now() + READY;
        while let Err(error) = self.stream(config("READY", "ready")).await {
            if Instant::now() > deadline {
                return Err(error.context("the servers do not come up"));
            }
            tokio::time::sleep(LOOK).await;
        }
        self.drop_stream("READY").await
    }

    /// Makes a stream that is led by the server that this is connected to, as all are: where a
    /// leader is must make no difference between layouts.
    pub async fn stream(&self, config: Config) -> Result<Stream> {
        let stream = self.context.create_stream(config).await?;
        let name = stream.cached_info().config.name.clone();
        let deadline = Instant::now() + READY;
        loop {
            let cluster = stream.get_info().await.ok().and_then(|info| info.cluster);
            let current = cluster.iter().flat_map(|cluster| &cluster.replicas).filter(|peer| peer.current);
            if current.count() + 1 == SERVERS {
                match cluster.and_then(|cluster| cluster.leader) {
                    Some(leader) if leader == FIRST => return Ok(stream),
                    Some(_) => {
                        let wanted = serde_json::to_vec(&json!({ "placement": { "preferred": FIRST } }))?;
                        let subject = format!("$JS.API.STREAM.LEADER.STEPDOWN.{name}");
                        let _ = self.client.request(subject, wanted.into()).await;
                    }
                    None => {}
                }
            }
            if Instant::now() > deadline {
                bail!("{name} is not led by {FIRST}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Removes a stream.
    pub async fn drop_stream(&self, name: &str) -> Result<()> {
        self.context.delete_stream(name).await.with_context(|| format!("deleting {name}"))?;
        Ok(())
    }

    /// What NATS alone gives: plain publishes of so many bytes, again and again.
    pub async fn alone(&self, bytes: usize, in_flight: usize, long: Duration) -> Result<Measured> {
        let _stream = self.stream(config("ALONE", "alone")).await?;
        let body = body(bytes);
        let meter = Meter::start(&self.servers)?;
        let publish =
            async |_, _| store(&self.client, Message::new("alone.x", body.clone())).await.map(|_| ());
        let measured = meter.stop(repeat(in_flight, long, publish).await?)?;
        self.drop_stream("ALONE").await?;
        Ok(measured)
    }

    /// The same for a size of writes.
    pub async fn alone_like(&self, write: Write) -> Result<Measured> {
        let alone = self.alone(write.events * EVENT, write.in_flight, ROW).await?;
        Ok(alone.times(write.events))
    }

    /// Files, connections and heaps grow until they are as large as they get.
    pub async fn warm_up(&self) -> Result<()> {
        for write in WRITES {
            self.alone_like(write).await?;
        }
        Ok(())
    }
}

/// A stream as Herald's log is: three copies, everything kept until it is removed.
pub fn config(name: &str, subject: &str) -> Config {
    Config {
        name: name.to_owned(),
        subjects: vec![format!("{subject}.>")],
        num_replicas: SERVERS,
        discard: DiscardPolicy::New,
        allow_direct: true,
        allow_atomic_publish: true,
        ..Config::default()
    }
}
