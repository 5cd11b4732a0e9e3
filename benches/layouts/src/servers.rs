//! Three servers on ports of the loopback interface, which end with their owner.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::machine;

/// How many there are.
pub const SERVERS: usize = 3;

/// The one that clients connect to, and that leads every stream.
pub const FIRST: &str = "n1";

/// Three servers, and where they keep everything.
pub struct Servers {
    children: Vec<Child>,
    folder: PathBuf,
    url: String,
}

impl Servers {
    /// Starts them in a folder of their own.
    pub fn start(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        let ports = free_ports(2 * SERVERS)?;
        let (clients, routes) = ports.split_at(SERVERS);
        let url = format!("nats://127.0.0.1:{}", clients.first().context("no port")?);
        let mut servers = Self { children: Vec::new(), folder, url };
        for (number, (client, route)) in clients.iter().zip(routes).enumerate() {
            servers.spawn(&format!("n{}", number + 1), *client, *route, routes)?;
        }
        Ok(servers)
    }

    fn spawn(&mut self, name: &str, client: u16, route: u16, routes: &[u16]) -> Result<()> {
        let config = self.folder.join(format!("{name}.conf"));
        let routes: Vec<_> = routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        fs::write(
            &config,
            format!(
                "server_name: {name}\nlisten: \"127.0.0.1:{client}\"\n\
                 jetstream {{ store_dir: {:?}, sync_interval: always }}\n\
                 cluster {{ name: layouts, listen: \"127.0.0.1:{route}\", routes: [{}] }}\n",
                self.folder.join(name),
                routes.join(", "),
            ),
        )?;
        let log = File::create(self.folder.join(format!("{name}.log")))?;
        let child = Command::new("nats-server")
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("nats-server has to be on the PATH: tools/nats-tools run COMMAND…")?;
        self.children.push(child);
        Ok(())
    }

    /// The address of [`FIRST`].
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where they keep everything.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Processor time of all of them so far.
    pub fn cpu(&self) -> Result<Duration> {
        self.children.iter().map(|child| machine::cpu(child.id())).sum()
    }

    /// That of the one that leads.
    pub fn leader_cpu(&self) -> Result<Duration> {
        machine::cpu(self.children.first().context("no server")?.id())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Ports that nobody listens on; they are held until all are found.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let held = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
