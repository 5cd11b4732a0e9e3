//! What Herald holds, every few seconds, and whether that grows.

use std::fmt;

use super::super::figures::median;
use super::super::support::machine::Held;

/// One look.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// How far the run was, from 0 to 1.
    pub at: f64,
    pub held: Held,
    /// Of the journal's directory.
    pub disk_mb: f64,
}

/// All looks.
#[derive(Debug, Default)]
pub struct Samples(Vec<Sample>);

/// A measure, and what it may grow by from the second quarter to the last: a
/// share of what it was, and something that no small value may be failed for.
struct Measure {
    what: &'static str,
    of: fn(&Sample) -> f64,
    share: f64,
    and: f64,
}

/// The journal's logs may fill 64 MB before they are merged, whatever is in them.
const MEASURES: [Measure; 4] = [
    Measure { what: "memory, MB", of: |sample| sample.held.memory_mb, share: 0.15, and: 16.0 },
    Measure { what: "journal on disk, MB", of: |sample| sample.disk_mb, share: 0.15, and: 64.0 },
    Measure { what: "descriptors", of: |sample| sample.held.descriptors as f64, share: 0.15, and: 24.0 },
    Measure { what: "threads", of: |sample| sample.held.threads as f64, share: 0.0, and: 4.0 },
];

impl Measure {
    /// What it may be in the last quarter.
    fn most(&self, second: f64) -> f64 {
        second * (1.0 + self.share) + self.and
    }
}

impl Samples {
    pub fn push(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    /// The medians of the quarters.
    fn quarters(&self, measure: &Measure) -> [f64; 4] {
        [0.0, 0.25, 0.5, 0.75].map(|from| {
            let inside = self.0.iter().filter(|sample| (from..from + 0.25).contains(&sample.at));
            let values: Vec<f64> = inside.map(measure.of).collect();
            assert!(!values.is_empty(), "no look in a whole quarter: MINUTES is too few");
            median(&values)
        })
    }

    /// What has grown beyond what it may.
    pub fn grown(&self) -> Vec<String> {
        let grown = |measure: &Measure| {
            let [_, second, _, last] = self.quarters(measure);
            let most = measure.most(second);
            (last > most)
                .then(|| format!("{}: {second:.0} grew to {last:.0}, beyond {most:.0}", measure.what))
        };
        MEASURES.iter().filter_map(grown).collect()
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| median of the quarter | 1 | 2 | 3 | 4 | at most, by the second |\n|---|---|---|---|---|---|"
        )?;
        for measure in &MEASURES {
            let [first, second, third, last] = self.quarters(measure);
            let most = measure.most(second);
            let what = measure.what;
            writeln!(f, "| {what} | {first:.0} | {second:.0} | {third:.0} | {last:.0} | {most:.0} |")?;
        }
        Ok(())
    }
}
