//! `herald run` as the binary that people get, in a process that a test may kill.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::certificates::authority_pem;
use super::cluster::kubeconfig_path;
use super::herald::AUDIENCE;
use super::{DEADLINE, Namespace};

/// A process for one namespace. It is killed when dropped.
pub struct HeraldProcess {
    child: Option<Child>,
    namespace: String,
    directory: TempDir,
    ingest: SocketAddr,
}

impl HeraldProcess {
    /// Starts it, and waits until it says that it is ready.
    pub async fn start(namespace: &Namespace) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("roots.pem"), authority_pem()).unwrap();
        let mut process =
            Self { child: None, namespace: namespace.name().to_owned(), directory, ingest: free_address() };
        process.start_again().await;
        process
    }

    /// Ends it as a crash would: SIGKILL, nothing is put in order.
    pub async fn kill(&mut self) {
        self.child.take().expect("it runs").kill().await.unwrap();
    }

    /// Starts it on the journal that the last one left.
    pub async fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let metrics = free_address();
        self.ingest = free_address();
        let log = std::fs::File::create(self.log()).unwrap();
        let mut command = command();
        command
            .args(["run", "--insecure-http", "--namespace", &self.namespace, "--audience", AUDIENCE])
            .args(["--listen", &self.ingest.to_string(), "--metrics-listen", &metrics.to_string()])
            .args(["--outbound-allow", "127.0.0.0/8", "--outbound-extra-roots"])
            .arg(self.directory.path().join("roots.pem"))
            .arg("--journal-dir")
            .arg(self.directory.path().join("journal"))
            .env("KUBECONFIG", kubeconfig_path())
            .stderr(log.try_clone().unwrap())
            .stdout(log);
        self.child = Some(command.spawn().unwrap());
        self.await_ready(metrics).await;
    }

    /// Where events for its namespace are posted.
    pub fn events_url(&self) -> String {
        format!("http://{}/v1/namespaces/{}/events", self.ingest, self.namespace)
    }

    /// What its health endpoint says is all that a process tells: so it is asked.
    async fn await_ready(&mut self, metrics: SocketAddr) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let deadline = Instant::now() + DEADLINE;
        loop {
            let answer = client.get(format!("http://{metrics}/readyz")).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.log()).unwrap();
                panic!("herald is not ready ({ended:?}):\n{log}");
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn log(&self) -> std::path::PathBuf {
        self.directory.path().join("log")
    }
}

/// The binary, ended with this process even if that is killed, where the system can.
fn command() -> Command {
    let binary = env!("CARGO_BIN_EXE_herald");
    let setpriv = Path::new("/usr/bin/setpriv");
    let mut command = if setpriv.exists() {
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "KILL", binary]);
        command
    } else {
        Command::new(binary)
    };
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// The kernel gives it to nobody else for a while after it is let go.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
