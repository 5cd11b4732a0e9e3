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

const HERALD: &str = env!("CARGO_BIN_EXE_herald");

/// `herald run`.
pub struct Herald {
    pub process: Process,
    /// Where it takes events.
    pub port: u16,
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
        let (port, metrics) = (free_port(), free_port());
        let log = bench.directory().join(format!("{journal}.log"));
        let log = OpenOptions::new().create(true).append(true).open(log).unwrap();
        command
            .arg("run")
            // Its figures in /proc are read.
            .arg("--core-dumps")
            .args(["--audience", AUDIENCE])
            .arg("--journal-dir")
            .arg(journal_directory(bench, journal))
            .args(["--max-backlog", "10000000", "--log", "warn"])
            // All webhooks of a benchmark are at one host.
            .args(["--max-in-flight-per-destination", "0", "--max-per-second-per-destination", "0"])
            .args(["--max-connects-per-second-per-destination", "0"])
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
            .args(flags)
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
