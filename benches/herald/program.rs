//! `herald run` as a child process, on a journal of its own.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::cluster::AUDIENCE;
use super::cores::Apart;
use super::process::Process;
use super::server::Bench;

/// The program.
pub const HERALD: &str = env!("CARGO_BIN_EXE_herald");

/// `herald run`.
pub struct Herald {
    pub process: Process,
    /// Where it takes events.
    pub port: u16,
    /// Where it is asked for its health.
    metrics: u16,
    /// How long it took until it was ready.
    pub ready_after: Duration,
}

impl Herald {
    /// Starts it for the benchmark's namespace on a journal of this name, and
    /// waits until it is ready.
    pub fn start(bench: &Bench, journal: &str) -> Self {
        Self::start_with(bench, journal, &["--namespace", &bench.cluster.namespace])
    }

    /// With more flags than all have; without `--namespace` among them it is
    /// for every namespace.
    pub fn start_with(bench: &Bench, journal: &str, flags: &[&str]) -> Self {
        Self::launch(Command::new(HERALD), bench, journal, flags)
    }

    /// The same, on a processor of its own if the rest keeps to the others.
    pub fn start_apart(apart: Option<&Apart>, bench: &Bench, journal: &str, flags: &[&str]) -> Self {
        let command = apart.map_or_else(|| Command::new(HERALD), |_| Apart::command(HERALD));
        Self::launch(command, bench, journal, flags)
    }

    fn launch(mut command: Command, bench: &Bench, journal: &str, flags: &[&str]) -> Self {
        command.arg("run").arg("--journal-dir").arg(journal_directory(bench, journal));
        outbound(&mut command, bench);
        let port = dispatcher(&mut command, bench);
        Self::begin(command, bench, journal, port, flags)
    }

    /// A dispatcher alone, with its journal where the flags say. The command may be a wrapper's.
    pub fn dispatcher(mut command: Command, bench: &Bench, name: &str, flags: &[&str]) -> Self {
        command.arg("dispatcher");
        outbound(&mut command, bench);
        let port = dispatcher(&mut command, bench);
        Self::begin(command, bench, name, port, flags)
    }

    /// A controller alone.
    pub fn controller(bench: &Bench, name: &str, flags: &[&str]) -> Self {
        let mut command = Command::new(HERALD);
        command.arg("controller");
        outbound(&mut command, bench);
        Self::begin(command, bench, name, 0, flags)
    }

    fn begin(mut command: Command, bench: &Bench, name: &str, port: u16, flags: &[&str]) -> Self {
        let metrics = free_port();
        let log = bench.directory().join(format!("{name}.log"));
        let log = OpenOptions::new().create(true).append(true).open(log).unwrap();
        command
            // Its figures in /proc are read.
            .arg("--core-dumps")
            .args(["--log", "warn", "--metrics-listen", &format!("127.0.0.1:{metrics}")])
            .args(flags)
            .stderr(Stdio::from(log));
        let begun = Instant::now();
        let process = Process::start(command);
        let herald = Self { process, port, metrics, ready_after: Duration::ZERO };
        while !herald.is_ready() {
            assert!(begun.elapsed() < Duration::from_mins(2), "herald did not become ready; see {name}.log");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { ready_after: begun.elapsed(), ..herald }
    }

    /// Whether the kubelet would let it have requests.
    pub fn is_ready(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.metrics)) else { return false };
        let mut answer = String::new();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.starts_with("HTTP/1.1 200")
    }

    /// Stops it as the kubelet would.
    pub fn stop(self) {
        self.process.stop();
    }

    /// Ends it as a crash would.
    pub fn kill(self) {
        drop(self.process);
    }

    /// Takes the webhooks of the namespace away, stops it, and removes its journal.
    pub async fn end(self, bench: &Bench, journal: &str) {
        bench.cluster.clear().await;
        self.stop();
        std::fs::remove_dir_all(journal_directory(bench, journal)).unwrap();
    }
}

/// Where the journal of this name is.
pub fn journal_directory(bench: &Bench, journal: &str) -> PathBuf {
    bench.directory().join(journal)
}

/// What all have that call endpoints: all webhooks of a benchmark are at one host.
fn outbound(command: &mut Command, bench: &Bench) {
    command
        .args(["--max-in-flight-per-destination", "0", "--max-per-second-per-destination", "0"])
        .args(["--max-connects-per-second-per-destination", "0"])
        .args(["--outbound-allow", "127.0.0.0/8", "--outbound-allow", "localhost", "--outbound-extra-roots"])
        .arg(&bench.files.ca);
}

/// What a dispatcher has; the port where it takes events.
fn dispatcher(command: &mut Command, bench: &Bench) -> u16 {
    let port = free_port();
    command
        .args(["--audience", AUDIENCE, "--max-backlog", "10000000"])
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .arg("--tls-cert")
        .arg(&bench.files.certificate)
        .arg("--tls-key")
        .arg(&bench.files.key);
    port
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
