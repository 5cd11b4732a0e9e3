//! Herald on one processor, and everything that it talks to on the others: so
//! what is measured is what its webhooks cost each other, and not what load,
//! sink and Herald cost each other because they happen to share a machine.

use std::process::Command;
use std::thread::available_parallelism;

/// Until it is dropped this process, and what it starts, has all processors but the first.
pub struct Apart {
    processors: usize,
}

impl Apart {
    /// `None` where there is only one processor, or no `taskset`.
    pub fn begin() -> Option<Self> {
        let processors = available_parallelism().map_or(1, usize::from);
        (processors > 1 && keep_to(1, processors - 1)).then_some(Self { processors })
    }

    /// Does something on the first processor, such as starting another process there.
    pub fn to_herald<T>(apart: Option<&Self>, work: impl FnOnce() -> T) -> T {
        let Some(apart) = apart else { return work() };
        keep_to(0, 0);
        let done = work();
        keep_to(1, apart.processors - 1);
        done
    }

    /// A program on the first processor alone.
    pub fn command(program: &str) -> Command {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", "0", program]);
        command
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        keep_to(0, self.processors - 1);
    }
}

fn keep_to(first: usize, last: usize) -> bool {
    let (range, id) = (format!("{first}-{last}"), std::process::id().to_string());
    let kept = Command::new("taskset").args(["--all-tasks", "--cpu-list", "--pid", &range, &id]).output();
    kept.is_ok_and(|kept| kept.status.success())
}
