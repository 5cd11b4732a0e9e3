//! What accounts asked of the API server, and what was refused: its audit log.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{interval, timeout};

use super::DEADLINE;

/// One request that was answered.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Whose it was.
    pub user: String,
    /// As RBAC names them.
    pub verb: String,
    /// Empty for the core group.
    pub group: String,
    /// With its subresource: `webhooks/status`.
    pub resource: String,
    /// None for what is of the cluster, and for all namespaces.
    pub namespace: Option<String>,
    /// None where no single object is meant.
    pub name: Option<String>,
    /// Path and query.
    pub uri: String,
    /// The status of the answer.
    pub code: u64,
}

/// The log from one moment on, as far as it is about some accounts.
pub struct AuditLog {
    path: PathBuf,
    read: u64,
    begun: Vec<u8>,
    users: Vec<String>,
    /// Every request that was read.
    pub asked: Vec<Asked>,
}

/// The log of the API server that the tests use; where it has none, says that
/// the test is skipped, past what the test runner keeps to itself.
pub fn audit_log(test: &str) -> Option<PathBuf> {
    let path = std::env::var_os("HERALD_TEST_AUDIT_LOG").map(PathBuf::from);
    if path.is_none() {
        let why =
            "the cluster has no audit log in HERALD_TEST_AUDIT_LOG; tools/control-plane starts one that has";
        drop(writeln!(std::io::stderr(), "SKIPPED {test}: {why}"));
    }
    path
}

impl AuditLog {
    /// From now on.
    pub fn from_now(path: &Path, users: &[String]) -> Self {
        let read = std::fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).len();
        Self { path: path.to_owned(), read, begun: Vec::new(), users: users.to_vec(), asked: Vec::new() }
    }

    /// The next request like this, among those that came before too; for as long as it takes.
    pub async fn find(&mut self, wanted: impl Fn(&Asked) -> bool) -> Asked {
        let mut looked_at = 0;
        // Nothing tells of a line: this looks again and again.
        let mut looks = interval(Duration::from_millis(20));
        loop {
            if let Some(asked) = self.asked.iter().skip(looked_at).find(|asked| wanted(asked)) {
                return asked.clone();
            }
            looked_at = self.asked.len();
            looks.tick().await;
            self.read_on();
        }
    }

    /// Waits until everything is there that the users had answered before they asked for `/version?last`.
    pub async fn complete(&mut self) {
        for user in self.users.clone() {
            let last = self.find(|asked| asked.user == user && asked.uri.ends_with("?last"));
            assert!(timeout(DEADLINE, last).await.is_ok(), "the audit log does not get to the end of {user}");
        }
    }

    fn read_on(&mut self) {
        let mut file = File::open(&self.path).unwrap();
        file.seek(SeekFrom::Start(self.read)).unwrap();
        self.read += file.read_to_end(&mut self.begun).unwrap() as u64;
        // The last line may not be whole yet.
        let whole = self.begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let rest = self.begun.split_off(whole);
        let lines = String::from_utf8(std::mem::replace(&mut self.begun, rest)).unwrap();
        let ours = lines.lines().filter(|line| self.users.iter().any(|user| line.contains(user)));
        self.asked.extend(ours.filter_map(|line| asked(&serde_json::from_str(line).unwrap())));
    }
}

fn asked(event: &Value) -> Option<Asked> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let resource = text("/objectRef/resource").unwrap_or_default();
    let subresource = text("/objectRef/subresource").map_or_else(String::new, |sub| format!("/{sub}"));
    Some(Asked {
        user: text("/user/username")?,
        verb: text("/verb")?,
        group: text("/objectRef/apiGroup").unwrap_or_default(),
        resource: resource + &subresource,
        namespace: text("/objectRef/namespace"),
        name: text("/objectRef/name"),
        uri: text("/requestURI")?,
        code: event.pointer("/responseStatus/code").and_then(Value::as_u64)?,
    })
}
