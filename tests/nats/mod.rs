//! Real servers of NATS, of a test's own, on ports that are free.
//!
//! ```text
//! Server::start    one server                       ends with the test
//! Cluster::start   three, each with a third of it   kill one, start it again
//! ```
//!
//! All sync each write, as docs/operations.md asks for. `nats-server` has to be on the `PATH`.
#![allow(dead_code, reason = "nobody uses all of it")]

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to start.
const START: Duration = Duration::from_secs(30);

/// One server.
pub struct Server {
    child: Option<Child>,
    config: PathBuf,
    port: u16,
    folder: tempfile::TempDir,
}

impl Server {
    /// Starts one that keeps its streams in a folder of its own.
    pub fn start() -> Self {
        let mut server = Self::new(|_, _| String::new());
        server.restart();
        server
    }

    /// One that does not run yet, with more in its configuration.
    fn new(more: impl Fn(&Path, u16) -> String) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let streams = folder.path().join("streams");
        let mut text = format!("listen: \"127.0.0.1:{port}\"\n");
        let _ = writeln!(text, "jetstream {{ store_dir: \"{}\", sync_interval: always }}", streams.display());
        text.push_str(&more(folder.path(), port));
        let config = folder.path().join("nats.conf");
        std::fs::write(&config, text).expect("a configuration");
        Self { child: None, config, port, folder }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Starts it on what it kept; waits until it listens.
    pub fn restart(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .expect("a log");
        let child = Command::new("nats-server")
            .arg("-c")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nats-server is on the PATH: run this by `tools/nats-tools run cargo test`");
        self.child = Some(child);
        let deadline = Instant::now() + START;
        // Nothing tells of it: like a client, this asks again and again.
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "it does not listen; see {}", self.folder.path().display());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its process, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Ends it by SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Three servers that keep each message on all of them.
pub struct Cluster {
    /// The servers.
    pub servers: Vec<Server>,
}

impl Cluster {
    /// Starts three. Their streams can be made a moment later.
    pub fn start() -> Self {
        let routes: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let all: Vec<String> = routes.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        let mut servers: Vec<Server> = routes
            .iter()
            .enumerate()
            .map(|(number, route)| {
                Server::new(|_, _| {
                    format!(
                        "server_name: n{number}\ncluster {{ name: test, listen: \"127.0.0.1:{route}\", routes: [{}] }}\n",
                        all.join(", ")
                    )
                })
            })
            .collect();
        servers.iter_mut().for_each(Server::restart);
        Self { servers }
    }

    /// Where they listen.
    pub fn urls(&self) -> String {
        self.servers.iter().map(Server::url).collect::<Vec<_>>().join(",")
    }
}

/// A port below the range from which the kernel gives ports to others.
fn free_port() -> u16 {
    loop {
        let port = 20_000 + rand::random_range(0..12_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
