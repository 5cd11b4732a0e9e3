//! The tables that are printed at the end.

use std::fmt;

/// All of them.
pub struct Tables {
    /// What a layout takes to be written.
    pub writes: Table,
    /// What it takes to say that a delivery has ended.
    pub settling: Table,
    /// What it takes to read.
    pub reading: Table,
    /// What takes the servers' time although nothing comes.
    pub idle: Table,
    /// What it takes to do something later.
    pub retries: Table,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            writes: Table::of(&[
                "layout",
                "events a write",
                "in flight",
                "fan-out",
                "events/s",
                "of NATS alone",
                "servers' CPU an event",
                "of it the leader's",
            ]),
            settling: Table::of(&["settling", "a second", "of NATS alone", "servers' CPU each"]),
            reading: Table::of(&["reading", "a second", "servers' CPU each"]),
            idle: Table::of(&["with nothing to do", "servers' CPU, of a core", "made at"]),
            retries: Table::of(&[
                "retries",
                "written at",
                "servers' CPU each, written",
                "each, when due",
                "the last is",
            ]),
        }
    }
}

impl fmt::Display for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { writes, settling, reading, idle, retries } = self;
        write!(f, "{writes}\n{settling}\n{reading}\n{idle}\n{retries}")
    }
}

/// A table for a document.
pub struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn of(columns: &[&'static str]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, and prints it at once: a run takes minutes.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        println!("{}", cells.join(" | "));
        self.rows.push(cells.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| {} |\n|{}", self.columns.join(" | "), "---|".repeat(self.columns.len()))?;
        self.rows.iter().try_for_each(|row| writeln!(f, "| {} |", row.join(" | ")))
    }
}

/// A number with commas between its thousands.
pub fn whole(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Microseconds, or milliseconds where there are many.
pub fn micros(number: f64) -> String {
    match number {
        ..10.0 => format!("{number:.1} us"),
        ..1000.0 => format!("{number:.0} us"),
        _ => format!("{:.1} ms", number / 1000.0),
    }
}

/// A part of a whole, or a multiple.
pub fn share(number: f64) -> String {
    if number < 0.01 { format!("{number:.4}") } else { format!("{number:.2}") }
}
