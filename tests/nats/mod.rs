//! A NATS server of a test's own, on a port that it finds.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that ends with the test.
pub struct Server {
    child: Child,
    _folder: tempfile::TempDir,
    /// Where it listens.
    pub url: String,
}

impl Server {
    /// Starts one that keeps its streams in a folder of its own, and syncs them always.
    ///
    /// # Panics
    /// There is no `nats-server` on the `PATH`.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = format!(
            "listen: 127.0.0.1:-1\nports_file_dir: {0:?}\njetstream {{ store_dir: {1:?}, sync_interval: always }}\n",
            folder.path(),
            folder.path().join("streams"),
        );
        let file = folder.path().join("nats.conf");
        std::fs::write(&file, config).expect("a configuration");
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let child = Command::new("nats-server")
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nats-server is on the PATH: run this by `tools/nats-tools run cargo test`");
        let url = await_url(folder.path());
        Self { child, _folder: folder, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the file in which a server says where it listens.
fn await_url(folder: &Path) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let files = std::fs::read_dir(folder).expect("the folder");
        let ports = files.filter_map(Result::ok).map(|file| file.path());
        let ports = ports.filter(|path| path.extension().is_some_and(|extension| extension == "ports"));
        for path in ports {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let Ok(ports) = serde_json::from_str::<serde_json::Value>(&text) else { continue };
            if let Some(url) = ports["nats"][0].as_str() {
                return url.to_owned();
            }
        }
        assert!(Instant::now() < deadline, "nats-server does not start; see {}", folder.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}
