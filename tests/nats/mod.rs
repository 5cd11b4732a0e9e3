//! Real servers of NATS, of a test's own, on ports that are free.
//!
//! ```text
//! Server::start        one server                       ends with the test
//! Server::start_with   one, with accounts of its own
//! Cluster::start       three, each with a third of it   kill one, start it again
//! ```
//!
//! All sync each write, as docs/operations.md asks for, until they are told otherwise. `nats-server` has
//! to be on the `PATH`.
#![allow(dead_code, reason = "nobody uses all of it")]

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to start.
const START: Duration = Duration::from_secs(30);

/// One server.
pub struct Server {
    child: Option<Child>,
    port: u16,
    monitoring: SocketAddr,
    /// By which it is asked how it is.
    scheme: &'static str,
    /// How it syncs.
    sync: &'static str,
    /// More of its configuration.
    more: String,
    folder: tempfile::TempDir,
}

impl Server {
    /// Starts one that keeps its streams in a folder of its own.
    pub fn start() -> Self {
        let mut server = Self::new(String::new());
        server.restart();
        server
    }

    /// Starts one that says how it is at the same port as another, of 127.0.0.2.
    pub fn beside(other: &Self, sync: &'static str) -> Self {
        let mut server = Self::new(String::new());
        server.monitoring = loopback(2, other.monitoring.port());
        server.sync = sync;
        server.restart();
        server
    }

    /// Starts one that is asked by HTTPS how it is, and shows this certificate (PEM) with its key.
    pub fn with_certificate(chain: &str, key: &str) -> Self {
        let mut server = Self::new(String::new());
        let path = |name: &str| server.folder.path().join(name);
        std::fs::write(path("tls.crt"), chain).expect("a file");
        std::fs::write(path("tls.key"), key).expect("a file");
        let (chain, key) = (path("tls.crt"), path("tls.key"));
        server.more =
            format!("tls {{ cert_file: \"{}\", key_file: \"{}\" }}\n", chain.display(), key.display());
        server.scheme = "https";
        server.restart();
        server
    }

    /// The same, with more in its configuration.
    pub fn start_with(more: &str) -> Self {
        let mut server = Self::new(more.to_owned());
        server.restart();
        server
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// One that does not run yet, with more in its configuration.
    fn new(more: String) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self {
            child: None,
            port: free_port(),
            monitoring: loopback(1, free_port()),
            scheme: "http",
            sync: "always",
            more,
            folder,
        }
    }

    /// From its next start on it syncs so: `always`, or once in so long.
    pub fn sync(&mut self, interval: &'static str) {
        self.sync = interval;
    }

    fn configure(&self) -> PathBuf {
        let Self { port, monitoring, scheme, sync, more, folder, .. } = self;
        let streams = folder.path().join("streams");
        let mut text = format!("listen: \"127.0.0.1:{port}\"\n{scheme}: \"{monitoring}\"\n");
        let _ =
            writeln!(text, "jetstream {{ store_dir: \"{}\", sync_interval: \"{sync}\" }}", streams.display());
        text.push_str(more);
        let config = folder.path().join("nats.conf");
        std::fs::write(&config, text).expect("a configuration");
        config
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Where it says how it is.
    pub fn monitoring(&self) -> String {
        format!("{}://{}", self.scheme, self.monitoring)
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
            .arg(self.configure())
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
                Server::new(format!(
                    "server_name: n{number}\ncluster {{ name: test, listen: \"127.0.0.1:{route}\", routes: [{}] }}\n",
                    all.join(", ")
                ))
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

fn loopback(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, last], port))
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
