//! Three servers of NATS, each in a network and on a disk of its own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::stream::Info;

use super::ground::{Ground, SERVERS};

/// How long they may take to be as they were.
const LIMIT: Duration = Duration::from_mins(2);

/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The streams that the dispatchers have.
const STREAMS: [&str; 4] = ["HERALD_LOG", "HERALD_DEAD_LETTERS", "HERALD_ATTEMPTS", "HERALD_SNAPSHOTS"];

/// See the module.
pub struct Servers {
    ground: Ground,
    running: Vec<Option<Child>>,
    client: async_nats::Client,
}

impl Servers {
    /// Starts them.
    pub async fn start(ground: &Ground) -> Self {
        for server in 0..SERVERS {
            std::fs::write(config(ground, server), configuration(ground, server)).unwrap();
        }
        let running = (0..SERVERS).map(|server| Some(spawn(ground, server))).collect();
        let urls: Vec<String> = (0..SERVERS).map(|n| format!("nats://{}:4222", Ground::address(n))).collect();
        let client = async_nats::ConnectOptions::new()
            .retry_on_initial_connect()
            .request_timeout(Some(Duration::from_secs(2)))
            .connect(urls)
            .await
            .unwrap();
        let this = Self { ground: ground.clone(), running, client };
        for server in 0..SERVERS {
            this.is_healthy(server).await;
        }
        this
    }

    /// Ends one by SIGKILL.
    pub fn kill(&mut self, server: usize) {
        if let Some(mut child) = self.running[server].take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Ends one as its chart does: it sends its clients elsewhere, gives up what it leads, and ends.
    pub fn retire(&mut self, server: usize) {
        let mut child = self.running[server].take().unwrap();
        let signal = Command::new("nats-server").args(["--signal", &format!("ldm={}", child.id())]).output();
        assert!(signal.unwrap().status.success());
        child.wait().unwrap();
    }

    /// Starts one that ended, on what it kept.
    pub fn start_again(&mut self, server: usize) {
        assert!(self.running[server].is_none());
        self.running[server] = Some(spawn(&self.ground, server));
    }

    /// Starts one anew if it no longer takes part, as its kubelet would; whether it was so.
    pub async fn restart_if_ill(&mut self, server: usize) -> bool {
        let ill = health(server).await != Some(200);
        if ill {
            self.kill(server);
            self.start_again(server);
        }
        ill
    }

    /// Waits until one has caught up.
    pub async fn is_healthy(&self, server: usize) {
        let begun = Instant::now();
        while health(server).await != Some(200) {
            assert!(begun.elapsed() < LIMIT, "server {server} does not become healthy");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until every stream is whole on all of them.
    pub async fn are_whole(&self) {
        let begun = Instant::now();
        for stream in STREAMS {
            while !self.info(stream).await.is_some_and(|info| is_whole(&info)) {
                assert!(begun.elapsed() < LIMIT, "{stream} is not on all servers again");
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Who leads the log.
    pub async fn leader(&self) -> usize {
        let begun = Instant::now();
        loop {
            let leader = self.info(STREAMS[0]).await.and_then(|info| info.cluster?.leader);
            if let Some(leader) = leader {
                return leader.strip_prefix('n').unwrap().parse().unwrap();
            }
            assert!(begun.elapsed() < LIMIT, "nobody leads the log");
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn info(&self, stream: &str) -> Option<Info> {
        let stream = jetstream::new(self.client.clone()).get_stream_no_info(stream).await.unwrap();
        stream.get_info().await.ok()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn is_whole(info: &Info) -> bool {
    info.cluster.as_ref().is_some_and(|cluster| {
        cluster.leader.is_some()
            && cluster.replicas.len() + 1 == SERVERS
            && cluster.replicas.iter().all(|replica| replica.current && !replica.offline)
    })
}

/// The status that a server answers with when it is asked for its health.
async fn health(server: usize) -> Option<u16> {
    let url = format!("http://{}:8222/healthz", Ground::address(server));
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build().unwrap();
    client.get(url).send().await.ok().map(|answer| answer.status().as_u16())
}

fn config(ground: &Ground, server: usize) -> PathBuf {
    ground.folder().join(format!("nats-{server}.conf"))
}

fn configuration(ground: &Ground, server: usize) -> String {
    let routes: Vec<String> =
        (0..SERVERS).map(|other| format!("\"nats://{}:6222\"", Ground::address(other))).collect();
    format!(
        "server_name: n{server}\nlisten: \"0.0.0.0:4222\"\nhttp: \"0.0.0.0:8222\"\n\
         lame_duck_duration: 30s\nlame_duck_grace_period: 1s\n\
         jetstream {{ store_dir: \"{}\", sync_interval: always, max_file_store: 100GB }}\n\
         cluster {{ name: faults, listen: \"0.0.0.0:6222\", no_advertise: true, ping_interval: 5s, routes: [{}] }}\n",
        ground.disk(server).join("streams").display(),
        routes.join(", "),
    )
}

fn spawn(ground: &Ground, server: usize) -> Child {
    let log = ground.folder().join(format!("nats-{server}.log"));
    let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
    // Its own group: a signal to the terminal is not for it.
    Ground::command(server, "nats-server")
        .arg("-c")
        .arg(config(ground, server))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("nats-server is on the PATH")
}
