//! The real binary, as a process that tests start and end, and what it logs.
//!
//! Only a process that was started here is ever sent a signal.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use super::DEADLINE;

/// Every line of every process that writes to it.
#[derive(Default)]
pub struct Log {
    lines: Mutex<Vec<String>>,
    count: watch::Sender<usize>,
}

impl Log {
    /// Starts a command that was made by [`binary`], and reads what it says.
    pub fn spawn(self: Arc<Self>, command: &mut Command) -> Child {
        let mut child = command.spawn().unwrap();
        tokio::spawn(self.read(child.stderr.take().unwrap()));
        child
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        *self.count.borrow()
    }

    /// All of it.
    pub fn text(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// The last lines of it.
    pub fn end(&self) -> String {
        let lines = self.lines.lock().unwrap();
        let end: Vec<_> = lines.iter().skip(lines.len().saturating_sub(60)).map(String::as_str).collect();
        end.join("\n")
    }

    async fn read(self: Arc<Self>, stderr: ChildStderr) {
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            self.lines.lock().unwrap().push(line);
            self.count.send_modify(|count| *count += 1);
        }
    }

    /// The address in the first line with this message from line `from` on.
    pub async fn address(&self, from: usize, message: &str) -> SocketAddr {
        let find = || {
            let lines = self.lines.lock().unwrap();
            lines.iter().skip(from).find_map(|line| {
                let Ok(line) = serde_json::from_str::<Value>(line) else {
                    // As text: the message, and then the fields.
                    let (_, fields) = line.split_once(message)?;
                    return fields.split(' ').find_map(|field| field.strip_prefix("address=")?.parse().ok());
                };
                let text = |key: &str| line.get(key).and_then(Value::as_str);
                (text("message") == Some(message)).then(|| text("address").unwrap().parse().unwrap())
            })
        };
        let mut count = self.count.subscribe();
        let wait = async {
            loop {
                count.borrow_and_update();
                if let Some(address) = find() {
                    return address;
                }
                count.changed().await.unwrap();
            }
        };
        let found = timeout(DEADLINE, wait).await;
        found.unwrap_or_else(|_| panic!("no {message:?} in {:#?}", self.lines.lock().unwrap()))
    }
}

/// The binary, which knows nothing of where the tests run; ended with this
/// process even if that is killed, where the system can.
pub fn binary() -> Command {
    let binary = env!("CARGO_BIN_EXE_herald");
    let setpriv = Path::new("/usr/bin/setpriv");
    let mut command = if setpriv.exists() {
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "KILL", binary]);
        command
    } else {
        Command::new(binary)
    };
    for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(proxy);
    }
    command.env_remove("POD_NAMESPACE").env_remove("POD_NAME");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Ends it by SIGTERM; says how it ended.
pub async fn terminate(child: Child) -> ExitStatus {
    end_by("TERM", child).await
}

/// Ends it by this signal; says how it ended.
pub async fn end_by(signal: &str, child: Child) -> ExitStatus {
    let pid = child.id().expect("it was not waited for yet").to_string();
    let told = Command::new("sh").args(["-c", "kill \"-$1\" \"$0\"", &pid, signal]).status().await.unwrap();
    assert!(told.success(), "it ended by itself");
    wait(child).await
}

/// Waits for its end.
pub async fn wait(mut child: Child) -> ExitStatus {
    timeout(DEADLINE, child.wait()).await.expect("it ends in time").unwrap()
}
