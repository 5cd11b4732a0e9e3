//! Medians, and the table that is printed at the end.

use std::fmt;

use super::support::machine::quantile;

/// Rows of the final table.
#[derive(Debug, Default)]
pub struct Table(Vec<[String; 4]>);

impl Table {
    /// Adds a row, and prints it at once: a run takes long.
    pub fn row(&mut self, what: &str, figure: String, ratio: String, target: &str) {
        println!("{what}: {figure} {ratio} (target: {target})");
        self.0.push([what.to_owned(), figure, ratio, target.to_owned()]);
    }

    /// A row of resident memory.
    pub fn memory(&mut self, what: &str, megabytes: f64, target: &str) {
        self.row(what, format!("{megabytes:.0} MB"), String::new(), target);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | measured | ratio | target |\n|---|---|---|---|")?;
        for [what, figure, ratio, target] in &self.0 {
            writeln!(f, "| {what} | {figure} | {ratio} | {target} |")?;
        }
        Ok(())
    }
}

/// The middle of the values; the upper one of two.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// A pair of the interleaved runs.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// Of Herald, a second.
    pub herald: f64,
    /// Of the bare client, a second.
    pub bare: f64,
    /// Processor time of Herald for each, in microseconds.
    pub cpu_micros: f64,
}

/// Adds the row of a ratio: medians of the pairs.
pub fn ratio(table: &mut Table, what: &str, unit: &str, pairs: &[Pair], target: &str) {
    let of = |value: fn(&Pair) -> f64| median(&pairs.iter().map(value).collect::<Vec<_>>());
    table.row(
        what,
        format!(
            "{:.0} {unit}/s, {:.0} us CPU each; bare client {:.0}/s",
            of(|pair| pair.herald),
            of(|pair| pair.cpu_micros),
            of(|pair| pair.bare)
        ),
        format!("{:.2}", of(|pair| pair.herald / pair.bare)),
        target,
    );
}
