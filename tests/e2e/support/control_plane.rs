//! An API server for one test alone, for what would disturb the others.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

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

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Its audit log.
    pub fn audit_log(&self) -> &Path {
        &self.audit_log
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}
