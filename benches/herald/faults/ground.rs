//! What `tools/fault-ground` made: networks that can be cut, and disks that can hang or be full.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

/// The servers of NATS there are networks and disks for.
pub const SERVERS: usize = 3;

/// See the module.
#[derive(Clone, Debug)]
pub struct Ground(PathBuf);

/// Somebody on the network, as a server sees and is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A server, to the others.
    Server(usize),
    /// A dispatcher, to all servers.
    Dispatcher(usize),
}

impl Ground {
    /// The one that this process stands on.
    pub fn here() -> Self {
        let folder = std::env::var_os("HERALD_FAULT_GROUND").expect("run it by make faults");
        Self(folder.into())
    }

    /// Where a server keeps its streams.
    pub fn disk(&self, server: usize) -> PathBuf {
        self.0.join("disks").join((server + 1).to_string())
    }

    /// For other files of the run.
    pub fn folder(&self) -> &PathBuf {
        &self.0
    }

    /// A program in the network of a server.
    pub fn command(server: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("nats-{}", server + 1), program]);
        command
    }

    /// The address of a server, for other servers.
    pub fn address(server: usize) -> String {
        format!("10.77.{}.2", server + 1)
    }

    /// The address at which a dispatcher finds a server, and nobody else does.
    pub fn address_for(server: usize, dispatcher: usize) -> String {
        format!("10.77.{}.{}", server + 1, 11 + dispatcher)
    }

    /// Nothing of one reaches the other from now on, either way.
    pub fn cut(one: Node, other: Node) {
        change("add", &both_ways(one, other));
    }

    /// Nothing that a server sends reaches the dispatcher, but what it sends reaches the server.
    pub fn deafen(dispatcher: usize, server: usize) {
        let (here, there) = ends(Node::Server(server), Node::Dispatcher(dispatcher));
        change("add", &[(here, there)]);
    }

    /// All reach all.
    pub fn mend() {
        nft(&["flush", "set", "inet", "faults", "cut"]);
    }

    /// Whoever writes to the disk of a server waits, until this is dropped.
    pub fn freeze(&self, server: usize) -> Frozen {
        freeze("-f", &self.disk(server));
        Frozen(self.disk(server))
    }

    /// Fills the disk of a server, until this is dropped.
    pub fn fill(&self, server: usize) -> Filled {
        let path = self.disk(server).join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        let mut size = 1 << 20;
        // To the last byte: what still fits is smaller and smaller.
        while size > 0 {
            if file.write_all(&vec![1; size]).and_then(|()| file.sync_all()).is_err() {
                size /= 8;
            }
        }
        Filled(path)
    }
}

/// A disk that hangs.
pub struct Frozen(PathBuf);

impl Drop for Frozen {
    fn drop(&mut self) {
        freeze("-u", &self.0);
    }
}

/// A disk that is full.
pub struct Filled(PathBuf);

impl Drop for Filled {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

fn freeze(how: &str, folder: &PathBuf) {
    assert!(Command::new("fsfreeze").arg(how).arg(folder).status().unwrap().success());
}

/// The addresses between which packets go.
fn ends(one: Node, other: Node) -> (String, String) {
    match (one, other) {
        (Node::Server(one), Node::Server(other)) => (Ground::address(one), Ground::address(other)),
        (Node::Server(server), Node::Dispatcher(dispatcher)) => {
            (Ground::address_for(server, dispatcher), format!("10.77.{}.1", server + 1))
        }
        (Node::Dispatcher(_), Node::Server(_)) => {
            let (server, dispatcher) = ends(other, one);
            (dispatcher, server)
        }
        (Node::Dispatcher(_), Node::Dispatcher(_)) => panic!("dispatchers do not speak to each other"),
    }
}

fn both_ways(one: Node, other: Node) -> [(String, String); 2] {
    let (from, to) = ends(one, other);
    [(from.clone(), to.clone()), (to, from)]
}

fn change(how: &str, pairs: &[(String, String)]) {
    let pairs: Vec<String> = pairs.iter().map(|(from, to)| format!("{from} . {to}")).collect();
    nft(&[how, "element", "inet", "faults", "cut", &format!("{{ {} }}", pairs.join(", "))]);
}

fn nft(arguments: &[&str]) {
    assert!(Command::new("nft").args(arguments).status().unwrap().success(), "nft {arguments:?}");
}
