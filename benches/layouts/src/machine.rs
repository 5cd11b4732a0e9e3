//! What the machine has done, by Linux's own counts.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::servers::Servers;

/// Milliseconds of a tick of the kernel's counts.
const TICK: u64 = 10;

/// Processor time of a process so far.
pub fn cpu(process: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name may hold spaces; it ends with the last bracket.
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    ticks(fields.split_whitespace().skip(11).take(2))
}

fn ticks<'f>(fields: impl Iterator<Item = &'f str>) -> Result<Duration> {
    let ticks: u64 = fields.map(str::parse::<u64>).sum::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks * TICK))
}

/// The disk, under small writes that are made durable one by one for a second.
pub fn fdatasync(folder: &Path) -> Result<String> {
    let path = folder.join("fdatasync");
    let mut file = File::create(&path)?;
    let (begun, mut syncs) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(1) {
        file.write_all(&[b'x'; 8192])?;
        file.sync_data()?;
        syncs += 1;
    }
    fs::remove_file(path)?;
    Ok(format!("{syncs} fdatasync/s"))
}

/// Who has used the processors.
pub struct Shares {
    begun: Instant,
    machine: Duration,
    servers: Duration,
    own: Duration,
}

impl Shares {
    /// From now on.
    pub fn begin(servers: &Servers) -> Result<Self> {
        let own = cpu(std::process::id())?;
        Ok(Self { begun: Instant::now(), machine: busy()?, servers: servers.cpu()?, own })
    }

    /// Until now. The kernel's own threads, which write to the disk, are among the others.
    pub fn end(&self, servers: &Servers) -> Result<String> {
        let all = self.begun.elapsed() * u32::try_from(std::thread::available_parallelism()?.get())?;
        let servers = servers.cpu()?.saturating_sub(self.servers);
        let own = cpu(std::process::id())?.saturating_sub(self.own);
        let others = busy()?.saturating_sub(self.machine).saturating_sub(servers + own);
        let share = |time: Duration| 100.0 * time.as_secs_f64() / all.as_secs_f64();
        let [servers, own, others] = [servers, own, others].map(share);
        Ok(format!("of the processors: servers {servers:.0} %, this {own:.0} %, others {others:.0} %"))
    }
}

/// Time of all processors that was not idle.
fn busy() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("an empty stat")?;
    let fields: Vec<_> = line.split_whitespace().skip(1).take(8).collect();
    // Without the two that say idle, and idle while the disk works.
    let busy = fields.iter().enumerate().filter(|(place, _)| !matches!(place, 3 | 4));
    ticks(busy.map(|(_, field)| *field))
}
