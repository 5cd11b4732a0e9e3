//! The real kubectl, in one namespace.

use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::cluster::kubeconfig_path;
use crate::support::{DEADLINE, Namespace};

/// What it keeps of the API server from one call to the next.
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/kubectl");

/// Runs kubectl as the administrator.
pub struct Kubectl {
    namespace: String,
}

/// What it said.
#[derive(Debug)]
pub struct Answer {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Kubectl {
    /// For the objects of this namespace, where a call names no other.
    pub fn of(namespace: &Namespace) -> Self {
        Self { namespace: namespace.name().to_owned() }
    }

    /// Runs it, whatever comes of it.
    pub async fn run(&self, arguments: &[&str], input: &str) -> Answer {
        let mut command = Command::new("kubectl");
        command.args(["--kubeconfig", &kubeconfig_path(), "--namespace", &self.namespace]);
        command.args(["--cache-dir", CACHE]).args(arguments);
        command.env_remove("KUBECTL_EXTERNAL_DIFF").current_dir(env!("CARGO_MANIFEST_DIR"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("kubectl does not start: {e}"));
        let mut stdin = child.stdin.take().unwrap();
        // It may end before it has read all.
        drop(stdin.write_all(input.as_bytes()).await);
        drop(stdin);
        let output = timeout(DEADLINE, child.wait_with_output()).await;
        let output = output.unwrap_or_else(|_| panic!("kubectl {arguments:?} does not end")).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Answer { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Runs what has to go well, and gives its output.
    pub async fn ok(&self, arguments: &[&str], input: &str) -> String {
        let answer = self.run(arguments, input).await;
        assert_eq!(answer.status, Some(0), "kubectl {arguments:?}: {answer:#?}");
        answer.stdout
    }

    /// `kubectl apply --server-side` as the named manager, which has to go well.
    pub async fn apply_as(&self, manager: &str, manifest: &str) -> String {
        self.ok(&["apply", "--server-side", "--field-manager", manager, "-f", "-"], manifest).await
    }
}
