//! What is done to servers and dispatchers, one after the other.

use std::time::{Duration, Instant};

use super::World;
use super::dispatchers::DISPATCHERS;
use super::ground::{Frozen, Ground, Node, SERVERS};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Nothing,
    KillEachDispatcher,
    KillLeader,
    KillTwoServers,
    KillEverything,
    CutDispatcherOff,
    DeafenDispatcher,
    CutLeaderFromServers,
    CutLeaderOff,
    CutAllServersApart,
    SlowLeader,
    SlowServers,
    HungLeader,
    FullLeader,
    FullServers,
    StepClocks,
    RollServers,
    RollDispatchers,
}

impl Fault {
    /// In the order in which they come.
    pub const ALL: [Self; 18] = [
        Self::Nothing,
        Self::KillEachDispatcher,
        Self::KillLeader,
        Self::KillTwoServers,
        Self::KillEverything,
        Self::CutDispatcherOff,
        Self::DeafenDispatcher,
        Self::CutLeaderFromServers,
        Self::CutLeaderOff,
        Self::CutAllServersApart,
        Self::SlowLeader,
        Self::SlowServers,
        Self::HungLeader,
        Self::FullLeader,
        Self::FullServers,
        Self::StepClocks,
        Self::RollServers,
        Self::RollDispatchers,
    ];

    /// What the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::KillEachDispatcher => "kill -9 of each dispatcher, back after 5 s",
            Self::KillLeader => "kill -9 of the server that leads, back after 10 s",
            Self::KillTwoServers => "kill -9 of two of three servers, back after 15 s",
            Self::KillEverything => "kill -9 of all servers and dispatchers at once",
            Self::CutDispatcherOff => "one dispatcher cut off from NATS for 20 s",
            Self::DeafenDispatcher => "one dispatcher hears nothing of NATS for 20 s",
            Self::CutLeaderFromServers => "the leader cut off from the other servers for 20 s",
            Self::CutLeaderOff => "the leader cut off from all for 20 s",
            Self::CutAllServersApart => "no server reaches another for 15 s",
            Self::SlowLeader => "the leader's disk stands still 9 of 10 times 100 ms, for 20 s",
            Self::SlowServers => "the same, all three disks",
            Self::HungLeader => "the leader's disk hangs for 20 s",
            Self::FullLeader => "the leader's disk is full for 20 s",
            Self::FullServers => "all three disks are full for 20 s",
            Self::StepClocks => "clocks of two dispatchers stepped by 100 h, one forward, one back",
            Self::RollServers => "rolling update of the servers",
            Self::RollDispatchers => "rolling update of the dispatchers",
        }
    }
}

const LONG: Duration = Duration::from_secs(20);

impl World {
    /// Does it, and undoes what does not end by itself.
    pub async fn carry_out(&mut self, fault: Fault) {
        match fault {
            Fault::Nothing => wait(LONG).await,
            Fault::KillEachDispatcher => self.kill_each_dispatcher().await,
            Fault::KillLeader => {
                let leader = self.servers.leader().await;
                self.servers.kill(leader);
                wait(Duration::from_secs(10)).await;
                self.servers.start_again(leader);
            }
            Fault::KillTwoServers => {
                let leader = self.servers.leader().await;
                let two = [leader, (leader + 1) % SERVERS];
                for server in two {
                    self.servers.kill(server);
                }
                wait(Duration::from_secs(15)).await;
                for server in two {
                    self.servers.start_again(server);
                }
            }
            Fault::KillEverything => {
                (0..SERVERS).for_each(|server| self.servers.kill(server));
                (0..DISPATCHERS).for_each(|number| self.dispatchers.kill(number));
                (0..SERVERS).for_each(|server| self.servers.start_again(server));
                (0..DISPATCHERS).for_each(|number| self.start_dispatcher(number));
            }
            Fault::CutDispatcherOff => {
                (0..SERVERS).for_each(|server| Ground::cut(Node::Dispatcher(0), Node::Server(server)));
                self.mend_after(LONG).await;
            }
            Fault::DeafenDispatcher => {
                (0..SERVERS).for_each(|server| Ground::deafen(1, server));
                self.mend_after(LONG).await;
            }
            Fault::CutLeaderFromServers => {
                let leader = self.servers.leader().await;
                cut_from_servers(leader);
                self.mend_after(LONG).await;
            }
            Fault::CutLeaderOff => {
                let leader = self.servers.leader().await;
                cut_from_servers(leader);
                (0..DISPATCHERS)
                    .for_each(|number| Ground::cut(Node::Dispatcher(number), Node::Server(leader)));
                self.mend_after(LONG).await;
            }
            Fault::CutAllServersApart => {
                (0..SERVERS).for_each(cut_from_servers);
                self.mend_after(Duration::from_secs(15)).await;
            }
            Fault::SlowLeader => {
                let leader = self.servers.leader().await;
                self.slow(&[leader]).await;
            }
            Fault::SlowServers => self.slow(&[0, 1, 2]).await,
            Fault::HungLeader => {
                let leader = self.servers.leader().await;
                let frozen = self.ground.freeze(leader);
                wait(LONG).await;
                drop(frozen);
            }
            Fault::FullLeader => {
                let leader = self.servers.leader().await;
                self.fill(&[leader]).await;
            }
            Fault::FullServers => self.fill(&[0, 1, 2]).await,
            Fault::StepClocks => self.step_clocks().await,
            Fault::RollServers => {
                for server in 0..SERVERS {
                    self.servers.retire(server);
                    self.servers.start_again(server);
                    self.servers.is_healthy(server).await;
                    self.servers.are_whole().await;
                }
            }
            Fault::RollDispatchers => {
                for number in 0..DISPATCHERS {
                    let producer = self.producer.as_ref().unwrap();
                    self.dispatchers.replace(&self.bench, number, |port| producer.moved(number, port));
                }
            }
        }
    }

    fn start_dispatcher(&mut self, number: usize) {
        let port = self.dispatchers.start_again(&self.bench, number);
        self.producer.as_ref().unwrap().moved(number, port);
    }

    async fn kill_each_dispatcher(&mut self) {
        for number in 0..DISPATCHERS {
            self.dispatchers.kill(number);
            wait(Duration::from_secs(5)).await;
            self.start_dispatcher(number);
            // Else two would be away at one time.
            wait(Duration::from_secs(15)).await;
        }
    }

    async fn mend_after(&mut self, time: Duration) {
        wait(time).await;
        Ground::mend();
    }

    /// The disks stand still most of the time.
    async fn slow(&self, servers: &[usize]) {
        let begun = Instant::now();
        while begun.elapsed() < LONG {
            let frozen: Vec<Frozen> = servers.iter().map(|server| self.ground.freeze(*server)).collect();
            wait(Duration::from_millis(90)).await;
            drop(frozen);
            wait(Duration::from_millis(10)).await;
        }
    }

    /// What a server does once its disk is full is NATS' affair: it may want to be started again.
    async fn fill(&mut self, servers: &[usize]) {
        let full: Vec<_> = servers.iter().map(|server| self.ground.fill(*server)).collect();
        wait(LONG).await;
        drop(full);
        for server in servers {
            if self.servers.restart_if_ill(*server).await {
                println!("server {server} was started again: it did not go on by itself");
            }
        }
    }

    async fn step_clocks(&self) {
        let hours = |hours: i64| hours * 3600;
        self.dispatchers.step(0, hours(100));
        self.dispatchers.step(1, hours(-100));
        wait(LONG).await;
        self.dispatchers.step(0, 0);
        self.dispatchers.step(1, 0);
        wait(LONG).await;
    }
}

fn cut_from_servers(server: usize) {
    for other in (0..SERVERS).filter(|other| *other != server) {
        Ground::cut(Node::Server(server), Node::Server(other));
    }
}

async fn wait(time: Duration) {
    tokio::time::sleep(time).await;
}
