//! An API server for one test alone, for what would disturb the others.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http::Request;
use tokio::time::timeout;

use super::Cluster;

const RESTART: Duration = Duration::from_mins(1);

/// Ends when it is dropped, and with the test's process in any case: it lives as long as its input is open.
pub struct ControlPlane {
    child: Child,
    kubeconfig: PathBuf,
    audit_log: PathBuf,
}

impl ControlPlane {
    /// Waits until it answers.
    pub fn start() -> Self {
        let mut child = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tools/control-plane"))
            .args(["run", "--", "sh", "-c"])
            .arg("printf '%s\\n%s\\n' \"$KUBECONFIG\" \"$HERALD_TEST_AUDIT_LOG\"; exec cat")
            .env_remove("HERALD_TEST_KUBECONFIG")
            .env_remove("HERALD_TEST_AUDIT_LOG")
            // It ends by itself, and whole; the mark of another would have its processes killed one by one.
            .env_remove("HERALD_CONTROL_PLANE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut path = || PathBuf::from(lines.next().expect("it starts").unwrap());
        let (kubeconfig, audit_log) = (path(), path());
        Self { child, kubeconfig, audit_log }
    }

    /// Kills the API server, and waits until another process answers in its place, from the same etcd.
    pub async fn restart_api_server(&self, cluster: &Cluster) {
        let file = self.kubeconfig.with_file_name("kube-apiserver.pid");
        let pid = || std::fs::read_to_string(&file).unwrap().trim().to_owned();
        let old = pid();
        let killed = Command::new("kill").args(["-KILL", &old]).status().unwrap();
        assert!(killed.success(), "the API server {old} is no more");
        let again = async {
            while pid() == old || !is_ready(cluster).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(RESTART, again).await.expect("it answers in time");
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Its audit log.
    pub fn audit_log(&self) -> &Path {
        &self.audit_log
    }
}

async fn is_ready(cluster: &Cluster) -> bool {
    let request = Request::get("/readyz").body(Vec::new()).unwrap();
    cluster.client().request_text(request).await.is_ok()
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}
