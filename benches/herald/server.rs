//! What a run of the benchmark stands on, and `herald run` as a child of it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::cluster::{AUDIENCE, Cluster};
use super::load::Posted;
use super::process::Process;
use super::sink::Seen;
use super::support::certificates::Files;

/// Certificates, a namespace, and a sink.
pub struct Bench {
    directory: tempfile::TempDir,
    files: Files,
    pub cluster: Cluster,
    sink: Mutex<Process>,
    pub sink_port: u16,
}

impl Bench {
    /// On the disk of the build directory: a file system in memory syncs nothing.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let files = Files::make(directory.path());
        let cluster = Cluster::start(directory.path()).await;
        let mut sink = Process::role(&["sink", directory.path().to_str().unwrap()]);
        let sink_port = sink.line().parse().unwrap();
        Self { directory, files, cluster, sink: Mutex::new(sink), sink_port }
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What the sink has seen.
    pub fn seen(&self) -> Seen {
        self.ask_sink("")
    }

    /// From now on the sink looks how long ago it was sent what arrives.
    pub fn time_arrivals(&self) {
        self.ask_sink("time");
    }

    /// How long it took what has arrived since then, in milliseconds; and no
    /// more of it.
    pub fn take_latencies(&self) -> Vec<f64> {
        let micros = self.ask_sink("latencies").latencies_micros;
        micros.into_iter().map(|micros| micros as f64 / 1000.0).collect()
    }

    fn ask_sink(&self, question: &str) -> Seen {
        serde_json::from_str(&self.sink.lock().unwrap().ask(question)).unwrap()
    }

    /// Runs the bare client for so long; requests a second.
    pub fn bare(&self, connections: usize, seconds: f64) -> f64 {
        let directory = self.directory().to_str().unwrap();
        let port = self.sink_port.to_string();
        Process::role(&["bare", directory, &port, &connections.to_string(), "800", &seconds.to_string()])
            .line()
            .parse()
            .unwrap()
    }

    /// Starts the relay, to the sink; it and its port.
    pub fn relay(&self, connections: usize) -> (Process, u16) {
        let (directory, sink) = (self.directory().to_str().unwrap(), self.sink_port.to_string());
        let mut relay = Process::role(&["relay", directory, &sink, &connections.to_string()]);
        let port = relay.line().parse().unwrap();
        (relay, port)
    }

    /// Starts a producer; its result is the line that it prints.
    pub fn load(&self, port: u16, connections: usize, batch: u64, how: &[&str]) -> Process {
        let directory = self.directory().to_str().unwrap();
        let (port, connections, batch) = (port.to_string(), connections.to_string(), batch.to_string());
        let mut arguments = vec!["load", directory, &port, &self.cluster.namespace, &connections, &batch];
        arguments.extend(how);
        Process::role(&arguments)
    }

    /// Runs a producer to its end.
    pub fn post(&self, herald: &Herald, connections: usize, batch: u64, how: &[&str]) -> Posted {
        serde_json::from_str(&self.load(herald.port, connections, batch, how).line()).unwrap()
    }

    /// Waits until the sink has had so many deliveries; how many it has had. To
    /// ask costs what is measured, so it asks a hundred times a second.
    pub fn wait_for(&self, deliveries: u64, limit: Duration) -> u64 {
        let begun = Instant::now();
        loop {
            let seen = self.seen().deliveries;
            if seen >= deliveries {
                return seen;
            }
            assert!(begun.elapsed() < limit, "{seen} of {deliveries} deliveries arrived within {limit:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
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
}

/// `herald run`.
pub struct Herald {
    pub process: Process,
    /// Where it takes events.
    pub port: u16,
    /// How long it took until it was ready.
    pub ready_after: Duration,
}

impl Herald {
    /// Starts it on a journal of this name, and waits until it is ready.
    pub fn start(bench: &Bench, journal: &str) -> Self {
        let (port, metrics) = (free_port(), free_port());
        let log = File::create(bench.directory().join(format!("{journal}.log"))).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_herald"));
        command
            .arg("run")
            .args(["--namespace", &bench.cluster.namespace, "--audience", AUDIENCE])
            .arg("--journal-dir")
            .arg(journal_directory(bench, journal))
            .args(["--max-backlog", "10000000", "--log", "warn"])
            .args([
                "--listen",
                &format!("127.0.0.1:{port}"),
                "--metrics-listen",
                &format!("127.0.0.1:{metrics}"),
            ])
            .arg("--tls-cert")
            .arg(&bench.files.certificate)
            .arg("--tls-key")
            .arg(&bench.files.key)
            .args([
                "--outbound-allow",
                "127.0.0.0/8",
                "--outbound-allow",
                "localhost",
                "--outbound-extra-roots",
            ])
            .arg(&bench.files.ca)
            .stderr(Stdio::from(log));
        let begun = Instant::now();
        let process = Process::start(command);
        while !is_ready(metrics) {
            assert!(
                begun.elapsed() < Duration::from_mins(2),
                "herald did not become ready; see {journal}.log"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { process, port, ready_after: begun.elapsed() }
    }

    /// Stops it as the kubelet would.
    pub fn stop(self) {
        self.process.stop();
    }
}

/// Where the journal of this name is.
pub fn journal_directory(bench: &Bench, journal: &str) -> PathBuf {
    bench.directory().join(journal)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn is_ready(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut answer = String::new();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}
