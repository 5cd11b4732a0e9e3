//! What a run of the benchmark stands on: certificates, a namespace, a sink,
//! and the other programs that it starts.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use herald::model::EventType;

use super::bare::Done;
use super::cluster::Cluster;
use super::load::Posted;
use super::process::Process;
use super::program::Herald;
use super::sink::Seen;
use super::support::certificates::Files;

/// Certificates, a namespace, and a sink.
pub struct Bench {
    directory: tempfile::TempDir,
    pub files: Files,
    pub cluster: Cluster,
    pub sink: Sink,
}

/// An endpoint that agrees to everything: a process of its own.
pub struct Sink {
    process: Mutex<Process>,
    pub port: u16,
}

impl Sink {
    /// With the certificate of this directory.
    pub fn start(directory: &Path) -> Self {
        let mut process = Process::role(&["sink", directory.to_str().unwrap()]);
        let port = process.line().parse().unwrap();
        Self { process: Mutex::new(process), port }
    }

    /// What it has seen.
    pub fn seen(&self) -> Seen {
        self.ask("")
    }

    /// From now on it looks how long ago it was sent what arrives.
    pub fn time_arrivals(&self) {
        self.ask("time");
    }

    /// How long it took what has arrived since then, in milliseconds; and no
    /// more of it.
    pub fn take_latencies(&self) -> Vec<f64> {
        let micros = self.ask("latencies").latencies_micros;
        micros.into_iter().map(|micros| micros as f64 / 1000.0).collect()
    }

    /// Waits until nothing arrives any more.
    pub fn wait_for_silence(&self) {
        let mut before = self.seen().deliveries;
        loop {
            std::thread::sleep(Duration::from_millis(300));
            let now = self.seen().deliveries;
            if now == before {
                return;
            }
            before = now;
        }
    }

    fn ask(&self, question: &str) -> Seen {
        self.process.lock().unwrap().ask(question)
    }
}

impl Bench {
    /// On the disk of the build directory: a file system in memory syncs nothing.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let files = Files::make(directory.path());
        let cluster = Cluster::start(directory.path()).await;
        let sink = Sink::start(directory.path());
        Self { directory, files, cluster, sink }
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Runs the bare client for so long, as fast as it goes; requests a second.
    pub fn bare(&self, connections: usize, seconds: f64) -> f64 {
        self.start_bare(self.sink.port, connections, seconds, 0.0).result().rate
    }

    /// Runs it at a steady rate; what that cost.
    pub fn bare_at(&self, connections: usize, seconds: f64, rate: f64) -> Done {
        self.start_bare(self.sink.port, connections, seconds, rate).result()
    }

    /// Starts it, to this port, as fast as it goes if `rate` is 0.
    pub fn start_bare(&self, port: u16, connections: usize, seconds: f64, rate: f64) -> Bare {
        let directory = self.directory().to_str().unwrap();
        let numbers = [connections.to_string(), "800".to_owned(), seconds.to_string(), rate.to_string()];
        let port = port.to_string();
        let mut arguments = vec!["bare", directory, &port];
        arguments.extend(numbers.iter().map(String::as_str));
        Bare(Process::role(&arguments))
    }

    /// Starts the relay, to the sink; it and its port.
    pub fn relay(&self, connections: usize) -> (Process, u16) {
        let (directory, sink) = (self.directory().to_str().unwrap(), self.sink.port.to_string());
        let mut relay = Process::role(&["relay", directory, &sink, &connections.to_string()]);
        let port = relay.line().parse().unwrap();
        (relay, port)
    }

    /// Starts a producer of created users; its result is the line that it prints.
    pub fn load(&self, port: u16, connections: usize, batch: u64, how: &[&str]) -> Process {
        self.load_to(
            &self.cluster.namespace,
            EventType::UserCreated.wire_name(),
            port,
            connections,
            batch,
            how,
        )
    }

    /// Starts a producer whose requests go to these namespaces and are of these
    /// types in turn; both are lists with commas.
    pub fn load_to(
        &self,
        namespaces: &str,
        types: &str,
        port: u16,
        connections: usize,
        batch: u64,
        how: &[&str],
    ) -> Process {
        let directory = self.directory().to_str().unwrap();
        let (port, connections, batch) = (port.to_string(), connections.to_string(), batch.to_string());
        let mut arguments = vec!["load", directory, &port, namespaces, types, &connections, &batch];
        arguments.extend(how);
        Process::role(&arguments)
    }

    /// Runs a producer to its end.
    pub fn post(&self, herald: &Herald, connections: usize, batch: u64, how: &[&str]) -> Posted {
        self.load(herald.port, connections, batch, how).result()
    }

    /// Waits until the sink has had so many deliveries; how many it has had. To
    /// ask costs what is measured, so it asks a hundred times a second.
    pub fn wait_for(&self, deliveries: u64, limit: Duration) -> u64 {
        let begun = Instant::now();
        loop {
            let seen = self.sink.seen().deliveries;
            if seen >= deliveries {
                return seen;
            }
            assert!(begun.elapsed() < limit, "{seen} of {deliveries} deliveries arrived within {limit:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A bare client that runs.
pub struct Bare(Process);

impl Bare {
    /// Waits for its end.
    pub fn result(mut self) -> Done {
        self.0.result()
    }
}
