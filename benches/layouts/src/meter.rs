//! How many there were, how long it took, and what the servers took for it.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::try_join_all;

use crate::servers::Servers;

/// Begins to measure.
pub struct Meter<'s> {
    servers: &'s Servers,
    begun: Instant,
    cpu: Duration,
    leader: Duration,
}

/// What was measured.
#[derive(Clone, Copy)]
pub struct Measured {
    count: f64,
    took: Duration,
    cpu: Duration,
    leader: Duration,
}

impl<'s> Meter<'s> {
    /// From now on.
    pub fn start(servers: &'s Servers) -> Result<Self> {
        Ok(Self { servers, begun: Instant::now(), cpu: servers.cpu()?, leader: servers.leader_cpu()? })
    }

    /// Until now, when so many were done.
    pub fn stop(self, count: usize) -> Result<Measured> {
        let cpu = self.servers.cpu()?.saturating_sub(self.cpu);
        let leader = self.servers.leader_cpu()?.saturating_sub(self.leader);
        Ok(Measured { count: count as f64, took: self.begun.elapsed(), cpu, leader })
    }
}

impl Measured {
    /// A second.
    pub fn rate(&self) -> f64 {
        self.count / self.took.as_secs_f64()
    }

    /// Servers' processor time of each, in microseconds.
    pub fn micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.count.max(1.0)
    }

    /// Servers' processor time in a second, in seconds.
    pub fn cores(&self) -> f64 {
        self.cpu.as_secs_f64() / self.took.as_secs_f64()
    }

    /// The leader's part of it.
    pub fn leaders_part(&self) -> f64 {
        self.leader.as_secs_f64() / self.cpu.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// How long it took.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// How long one took, if they were done one after the other, in milliseconds.
    pub fn millis(&self) -> f64 {
        self.took.as_secs_f64() * 1e3 / self.count.max(1.0)
    }

    /// The same, of each of so many.
    pub fn times(self, each: usize) -> Self {
        Self { count: self.count * each as f64, ..self }
    }
}

/// Does something again and again until a time is over, in so many places side by side. It is
/// given its place and how often it was begun before; how often it was done.
pub async fn repeat(
    places: usize,
    long: Duration,
    work: impl AsyncFn(usize, u64) -> Result<()>,
) -> Result<usize> {
    let (until, next) = (Instant::now() + long, Cell::new(0_u64));
    let (next, work) = (&next, &work);
    let place = |place| async move {
        let mut done = 0;
        while Instant::now() < until {
            let number = next.replace(next.get() + 1);
            work(place, number).await?;
            done += 1;
        }
        anyhow::Ok(done)
    };
    Ok(try_join_all((0..places).map(place)).await?.into_iter().sum())
}
