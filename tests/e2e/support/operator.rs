//! A person on call: runs Herald's commands with an account of the namespace.

use std::process::{Output, Stdio};

use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::time::timeout;

use super::herald::AUDIENCE;
use super::program::binary;
use super::{DEADLINE, HeraldProcess, Namespace};

/// Everything that a person on call may want to do.
pub const EVERYTHING: [(&str, &str); 6] = [
    ("get", "userevents"),
    ("list", "userevents"),
    ("get", "userevents/payload"),
    ("list", "deadletters"),
    ("delete", "deadletters"),
    ("create", "webhooks/test"),
];

/// Somebody with certain rights.
pub struct Operator {
    namespace: String,
    token: NamedTempFile,
}

/// What a command printed.
#[derive(Debug)]
pub struct Printed {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Operator {
    /// With these rights in the namespace.
    pub async fn with(namespace: &Namespace, account: &str, rights: &[(&str, &str)]) -> Self {
        namespace.service_account(account).await;
        namespace.allow(namespace.name(), account, rights).await;
        let token = NamedTempFile::new().unwrap();
        std::fs::write(token.path(), namespace.token(account, AUDIENCE).await).unwrap();
        Self { namespace: namespace.name().to_owned(), token }
    }

    /// The token that it sends.
    pub fn token(&self) -> String {
        std::fs::read_to_string(self.token.path()).unwrap()
    }

    /// Runs `herald` with these arguments.
    pub async fn run(&self, herald: &HeraldProcess, arguments: &[&str]) -> Printed {
        let (url, ca_file) = herald.url_and_ca_file();
        let mut command = binary();
        command.args(arguments).args(["--url", &url, "--namespace", &self.namespace]);
        command.arg("--ca-file").arg(ca_file).arg("--token-file").arg(self.token.path());
        let run = command.stdin(Stdio::null()).stdout(Stdio::piped()).output();
        let Output { status, stdout, stderr } = timeout(DEADLINE, run).await.expect("it ends").unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Printed { status: status.code(), out: text(stdout), err: text(stderr) }
    }

    /// Runs it, and reads what it prints as JSON.
    pub async fn json(&self, herald: &HeraldProcess, arguments: &[&str]) -> Value {
        let printed = self.run(herald, &[arguments, &["-o", "json"]].concat()).await;
        serde_json::from_str(&printed.out).unwrap_or_else(|error| panic!("{error}: {printed:?}"))
    }
}
