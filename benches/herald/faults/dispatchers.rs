//! Dispatchers that share one journal, each with an address book and a time of day of its own.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::super::program::{HERALD, Herald};
use super::super::server::Bench;
use super::clocks::{HandsOf, library};
use super::ground::{Ground, SERVERS};

/// How many there are.
pub const DISPATCHERS: usize = 3;

/// How long they may take to be ready.
const LIMIT: Duration = Duration::from_mins(2);

/// See the module.
pub struct Dispatchers {
    clock: PathBuf,
    hands: Vec<HandsOf>,
    /// None where one ended.
    running: Vec<Option<Herald>>,
}

impl Dispatchers {
    /// Starts them.
    pub fn start(bench: &Bench, ground: &Ground) -> Self {
        let clock = library(ground.folder());
        let hands = |number: usize| HandsOf::new(ground.folder().join(format!("clock-{number}")));
        let hands = (0..DISPATCHERS).map(hands).collect();
        let mut this = Self { clock, hands, running: Vec::new() };
        for number in 0..DISPATCHERS {
            let herald = this.spawn(bench, number);
            this.running.push(Some(herald));
        }
        this
    }

    /// Where they take events.
    pub fn ports(&self) -> Vec<u16> {
        self.running.iter().map(|herald| herald.as_ref().unwrap().port).collect()
    }

    /// Ends one by SIGKILL.
    pub fn kill(&mut self, number: usize) {
        self.running[number].take().unwrap().kill();
    }

    /// Starts one that ended; where it takes events.
    pub fn start_again(&mut self, bench: &Bench, number: usize) -> u16 {
        assert!(self.running[number].is_none());
        let herald = self.spawn(bench, number);
        let port = herald.port;
        self.running[number] = Some(herald);
        port
    }

    /// Starts a successor, and asks one to end once that is ready, as a Deployment does; where the
    /// successor takes events is told before.
    pub fn replace(&mut self, bench: &Bench, number: usize, moved: impl FnOnce(u16)) {
        let herald = self.spawn(bench, number);
        moved(herald.port);
        self.running[number].replace(herald).unwrap().stop();
    }

    /// Starts those anew that have ended, as a kubelet would; how many.
    pub fn restart_the_ended(&mut self, bench: &Bench, mut moved: impl FnMut(usize, u16)) -> usize {
        let mut count = 0;
        for number in 0..DISPATCHERS {
            if self.running[number].as_mut().is_some_and(|herald| herald.process.has_ended()) {
                self.running[number] = None;
                moved(number, self.start_again(bench, number));
                count += 1;
            }
        }
        count
    }

    /// Steps the time of day of one to so many seconds beside what it is.
    pub fn step(&self, number: usize, seconds: i64) {
        self.hands[number].set(seconds);
    }

    /// Waits until all are ready.
    pub async fn are_ready(&self) {
        let begun = Instant::now();
        for (number, herald) in self.running.iter().enumerate() {
            while !herald.as_ref().is_some_and(Herald::is_ready) {
                assert!(begun.elapsed() < LIMIT, "dispatcher {number} does not become ready");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    fn spawn(&self, bench: &Bench, number: usize) -> Herald {
        let mut command = Command::new(HERALD);
        self.hands[number].show(&self.clock, &mut command);
        let servers: Vec<String> =
            (0..SERVERS).map(|n| format!("nats://{}:4222", Ground::address_for(n, number))).collect();
        let monitoring: Vec<String> =
            (0..SERVERS).map(|n| format!("http://{}:8222", Ground::address(n))).collect();
        let (servers, monitoring) = (servers.join(","), monitoring.join(","));
        let place = ["--journal-nats", &servers, "--nats-monitoring", &monitoring];
        let flags = [["--namespace", &bench.cluster.namespace].as_slice(), &place].concat();
        Herald::dispatcher(command, bench, &format!("dispatcher-{number}"), &flags)
    }
}
