//! Herald as people run it: the real binary, in a process of its own.
//!
//! ```text
//! start ─> "serving metrics and health", "taking user events" in its log ─> /readyz ─> the test
//! stop (SIGTERM) or kill (SIGKILL) ─> restart, on the same journal
//! ```
//!
//! If the test fails, what Herald logged is shown.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{interval, timeout};

use super::cluster::kubeconfig_path;
use super::disk::world::{Crash, World};
use super::disk::{self, Disk, log};
use super::herald::AUDIENCE;
use super::nats::Server;
use super::program::{Log, binary, end_by, terminate, wait};
use super::{DEADLINE, Namespace, certificates};

/// A `herald run`, and the directory that outlives its process.
pub struct HeraldProcess {
    namespaces: Vec<String>,
    extra_roots: bool,
    allowed: Vec<String>,
    more: Vec<String>,
    environment: Vec<(String, String)>,
    directory: TempDir,
    journal: PathBuf,
    disk: Option<Disk>,
    /// Where its journal is, instead of its directory.
    nats: Option<Arc<Server>>,
    http: reqwest::Client,
    log: Arc<Log>,
    process: Option<Process>,
}

/// How it is started, where that is not as most tests want it.
struct Setup<'a> {
    extra_roots: bool,
    /// What may be called although it is forbidden otherwise.
    allowed: &'a [&'a str],
    more: &'a [&'a str],
    environment: &'a [(&'a str, &'a str)],
    disk: Option<Disk>,
    nats: Option<Arc<Server>>,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        let allowed = &["127.0.0.0/8", "localhost"];
        Self { extra_roots: true, allowed, more: &[], environment: &[], disk: None, nats: None }
    }
}

struct Process {
    child: Child,
    ingestion: SocketAddr,
    telemetry: SocketAddr,
}

impl HeraldProcess {
    /// For these namespaces, trusting the test endpoints' authority; ready when this returns.
    pub async fn start(namespaces: &[&Namespace]) -> Self {
        Self::with(namespaces, Setup::default()).await
    }

    /// The same, with its journal on a disk that can fail, and lose what was not fsynced.
    pub async fn start_on(disk: Disk, namespaces: &[&Namespace]) -> Self {
        Self::with(namespaces, Setup { disk: Some(disk), ..Setup::default() }).await
    }

    /// The same, trusting only the system's authorities where a webhook names no other.
    pub async fn start_trusting_the_system_alone(namespaces: &[&Namespace]) -> Self {
        Self::with(namespaces, Setup { extra_roots: false, ..Setup::default() }).await
    }

    /// The same, with more arguments.
    pub async fn start_with(namespaces: &[&Namespace], more: &[&str]) -> Self {
        Self::with(namespaces, Setup { more, ..Setup::default() }).await
    }

    /// The same, with these variables in its environment.
    pub async fn start_in(namespaces: &[&Namespace], environment: &[(&str, &str)]) -> Self {
        Self::with(namespaces, Setup { environment, ..Setup::default() }).await
    }

    /// The same, with its journal on this server, and the controller of one of those that share it.
    pub async fn start_on_nats(server: &Arc<Server>, namespace: &Namespace) -> Self {
        let more = &["--leader-election", "--own-namespace", namespace.name()];
        Self::with(&[namespace], Setup { more, nats: Some(Arc::clone(server)), ..Setup::default() }).await
    }

    /// The same, where this alone of what is forbidden otherwise may be called.
    pub async fn start_allowing(namespaces: &[&Namespace], allowed: &[&str], more: &[&str]) -> Self {
        Self::with(namespaces, Setup { allowed, more, ..Setup::default() }).await
    }

    async fn with(namespaces: &[&Namespace], setup: Setup<'_>) -> Self {
        let Setup { extra_roots, allowed, more, environment, disk, nats } = setup;
        let directory = tempfile::tempdir().unwrap();
        let pair = certificates::server(certificates::Certificate::Good);
        for (name, content) in
            [("tls.crt", pair.certificate), ("tls.key", pair.key), ("ca.crt", certificates::authority_pem())]
        {
            std::fs::write(directory.path().join(name), content).unwrap();
        }
        let mut herald = Self {
            namespaces: namespaces.iter().map(|namespace| namespace.name().to_owned()).collect(),
            extra_roots,
            allowed: allowed.iter().map(|&allowed| allowed.to_owned()).collect(),
            more: more.iter().map(|&argument| argument.to_owned()).collect(),
            environment: environment
                .iter()
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            journal: disk.as_ref().map_or(directory.path().to_owned(), Disk::root).join("journal"),
            nats: nats.or_else(|| (on_nats() && disk.is_none()).then(|| Arc::new(Server::start()))),
            disk,
            directory,
            http: http(),
            log: Arc::default(),
            process: None,
        };
        herald.restart().await;
        herald
    }

    /// Starts it again on what the last process left; it must have been ended before.
    pub async fn restart(&mut self) {
        assert!(self.process.is_none(), "it still runs");
        let from = self.log.len();
        let child = self.log.clone().spawn(&mut self.command());
        let telemetry = self.log.address(from, "serving metrics and health").await;
        let ingestion = self.log.address(from, "taking user events").await;
        self.process = Some(Process { child, ingestion, telemetry });
        // Nothing tells of readiness: like a kubelet, this asks again and again.
        let ready = async {
            let mut probes = interval(Duration::from_millis(20));
            while self.get("readyz").await.0 != StatusCode::OK {
                probes.tick().await;
            }
        };
        let ready = timeout(DEADLINE, ready).await;
        assert!(ready.is_ok(), "not ready after {DEADLINE:?}: {}", self.get("readyz").await.1);
    }

    fn command(&self) -> Command {
        let path = |name: &str| self.directory.path().join(name);
        let mut command = binary();
        command.args(["run", "--audience", AUDIENCE]);
        for (flag, usual) in [("--log", "herald=trace,info"), ("--log-format", "json")] {
            if !self.more.iter().any(|argument| argument == flag) {
                command.args([flag, usual]);
            }
        }
        command.args(["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]);
        command.args(self.allowed.iter().flat_map(|allowed| ["--outbound-allow", allowed]));
        command.arg("--tls-cert").arg(path("tls.crt")).arg("--tls-key").arg(path("tls.key"));
        match &self.nats {
            None => command.arg("--journal-dir").arg(&self.journal),
            Some(server) => command
                .args(["--journal-nats", &server.url(), "--nats-monitoring", &server.monitoring()])
                .args(["--nats-replicas", "1"]),
        };
        if let Some(disk) = &self.disk {
            disk.watch(command.as_std_mut());
        }
        if self.extra_roots {
            command.arg("--outbound-extra-roots").arg(path("ca.crt"));
        }
        command.args(&self.more);
        for namespace in &self.namespaces {
            command.args(["--namespace", namespace]);
        }
        command.env("KUBECONFIG", kubeconfig_path());
        command.envs(self.environment.clone());
        command
    }

    /// Where it takes the user events of a namespace.
    pub fn events_url(&self, namespace: &str) -> String {
        let ingestion = self.process.as_ref().expect("it runs").ingestion;
        format!("https://{ingestion}/v1/namespaces/{namespace}/events")
    }

    /// Where it listens, and what to trust there: for commands.
    pub fn url_and_ca_file(&self) -> (String, PathBuf) {
        let ingestion = self.process.as_ref().expect("it runs").ingestion;
        (format!("https://{ingestion}"), self.directory.path().join("ca.crt"))
    }

    /// The directory of its journal.
    pub fn journal(&self) -> &Path {
        &self.journal
    }

    /// A client that trusts its certificate.
    pub fn http(&self) -> reqwest::Client {
        self.http.clone()
    }

    /// Ends it by SIGTERM, and checks that it went well.
    pub async fn stop(&mut self) {
        let process = self.process.take().expect("it runs");
        let status = terminate(process.child).await;
        assert!(status.success(), "{status}; its log:\n{}", self.log());
    }

    /// Its number while it runs.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().and_then(|process| process.child.id()).expect("it runs")
    }

    /// Has it crash; says how it ended.
    pub async fn crash(&mut self) -> ExitStatus {
        let process = self.process.take().expect("it runs");
        end_by("ABRT", process.child).await
    }

    /// Ends it by SIGKILL.
    pub async fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.child.start_kill().unwrap();
        wait(process.child).await;
    }

    /// Changes what fails on its disk: see `tests/disk/disk.c`.
    pub fn disk_fails(&self, what: &str) {
        disk::fail(&self.disk.as_ref().expect("a disk that can fail").faults(), what);
    }

    /// Ends it by a power cut, and starts it on what that has left on its disk.
    pub async fn lose_power(&mut self) {
        self.kill().await;
        let disk = self.disk.take().expect("a disk that can lose what was not fsynced");
        let mut world = World::new();
        for op in log::read(&std::fs::read(disk.log()).unwrap()) {
            world.apply(&op);
        }
        let left = self.directory.path().join("left");
        std::fs::create_dir(&left).unwrap();
        world.write(Crash::Everything, &left).unwrap();
        self.journal = left.join("journal");
        self.restart().await;
    }

    /// All of its metrics, as a scrape reads them.
    pub async fn metrics(&self) -> String {
        let (status, text) = self.get("metrics").await;
        assert_eq!(status, StatusCode::OK, "{text}");
        text
    }

    /// One sample; zero if there is none.
    pub async fn metric(&self, sample: &str) -> f64 {
        let text = self.metrics().await;
        let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until a sample is as `wanted` says.
    pub async fn await_metric(&self, sample: &str, wanted: impl Fn(f64) -> bool) {
        // Nothing tells of a metric's change: a scrape asks again and again.
        let scrape = async {
            let mut scrapes = interval(Duration::from_millis(20));
            while !wanted(self.metric(sample).await) {
                scrapes.tick().await;
            }
        };
        let in_time = timeout(DEADLINE, scrape).await.is_ok();
        assert!(in_time, "{sample} is {} after {DEADLINE:?}", self.metric(sample).await);
    }

    /// What it has logged, over all of its processes.
    pub fn log(&self) -> String {
        self.log.text()
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let telemetry = self.process.as_ref().expect("it runs").telemetry;
        let answer = self.http.get(format!("http://{telemetry}/{path}")).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{error:?}; its log:\n{}", self.log()));
        (answer.status(), answer.text().await.unwrap())
    }
}

impl Drop for HeraldProcess {
    #[expect(clippy::print_stderr, reason = "the test runner shows it beside the panic")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the end of Herald's log:\n{}", self.log.end());
        }
    }
}

/// Whether journals are on NATS: see `make test-nats`.
fn on_nats() -> bool {
    std::env::var("HERALD_TEST_JOURNAL").is_ok_and(|journal| journal == "nats")
}

fn http() -> reqwest::Client {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificates::authority_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().timeout(DEADLINE).build().unwrap()
}
