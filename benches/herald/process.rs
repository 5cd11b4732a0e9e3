//! A child process: what it prints, what it costs, and that it ends.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::de::DeserializeOwned;

use super::support::machine::{self, Held};

/// A child that ends with this value.
pub struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Another role of this program.
    pub fn role(arguments: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(arguments);
        Self::start(command)
    }

    /// Any program.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "a child process ended before it had printed its result");
        line.trim_end().to_owned()
    }

    /// The same, read as JSON.
    pub fn result<T: DeserializeOwned>(&mut self) -> T {
        serde_json::from_str(&self.line()).unwrap()
    }

    /// Writes a line and reads the answer.
    pub fn ask<T: DeserializeOwned>(&mut self, question: &str) -> T {
        writeln!(self.input, "{question}").unwrap();
        self.result()
    }

    /// Processor time so far, in microseconds, to a hundredth of a second.
    pub fn cpu_micros(&self) -> f64 {
        machine::processor_time(self.child.id()).as_secs_f64() * 1e6
    }

    /// Resident memory, in megabytes.
    pub fn memory_mb(&self) -> f64 {
        machine::memory_mb(self.child.id())
    }

    /// Bytes that it has caused to be written to disks.
    pub fn written(&self) -> u64 {
        machine::written(self.child.id())
    }

    /// What it holds now.
    pub fn held(&self) -> Held {
        Held::of(self.child.id())
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Asks it to stop, and waits.
    pub fn stop(mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(&id).status().unwrap().success());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
