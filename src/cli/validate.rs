//! `herald validate`: the API server's verdict on manifests, for a repository's CI.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;

use crate::api::manifest::{Checker, Report};
use crate::model::line::{escaped, one_line};

/// Check manifests as the API server would, without a cluster.
///
/// Objects of other kinds are counted and skipped. The exit status is 0 when
/// all is good, 1 when something would be refused, and 2 when a file cannot be
/// read.
#[derive(Debug, clap::Args)]
pub struct Validate {
    /// A file, a folder (every .yaml, .yml and .json below it whose name does not begin with a dot), or - for standard input.
    #[arg(short, long, value_name = "FILE|DIR", required = true, num_args = 1..)]
    filename: Vec<PathBuf>,
    /// How to print what was found.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Output {
    /// File, line, field and message, and a summary on standard error.
    Text,
    /// One object with all problems.
    Json,
}

/// One file and what is in it.
type Checked = (String, Report);

impl Validate {
    /// Does what the arguments say.
    ///
    /// # Errors
    /// A file cannot be read, or the output not be written.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let checker = Checker::new();
        let mut reports: Vec<Checked> = Vec::new();
        for name in &self.filename {
            if name == Path::new("-") {
                let mut text = String::new();
                io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
                reports.push(("-".to_owned(), checker.check(&text)));
                continue;
            }
            for path in files(name)? {
                let shown = path.display().to_string();
                let text = fs::read_to_string(&path).with_context(|| format!("cannot read {shown}"))?;
                reports.push((shown, checker.check(&text)));
            }
        }
        match self.output {
            Output::Text => print_text(&reports),
            Output::Json => print_json(&reports),
        }
        .context("cannot print what was found")?;
        let good = reports.iter().all(|(_, report)| report.problems.is_empty());
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }
}

/// The file itself, or the manifests below the folder in the order of their names.
fn files(name: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let unreadable = || format!("cannot read {}", name.display());
    if !fs::metadata(name).with_context(unreadable)?.is_dir() {
        return Ok(vec![name.to_owned()]);
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(name)
        .with_context(unreadable)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .with_context(unreadable)?;
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        // What tools keep beside the manifests, such as .github and .sops.yaml.
        if entry.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        // A link to a folder is not followed, lest it leads in a circle.
        let is_link = entry.is_symlink();
        let is_manifest =
            ["yaml", "yml", "json"].map(OsStr::new).contains(&entry.extension().unwrap_or_default());
        if entry.is_dir() && !is_link {
            found.extend(files(&entry)?);
        } else if is_manifest && !entry.is_dir() {
            found.push(entry);
        }
    }
    Ok(found)
}

fn totals(checked: &[Checked]) -> (usize, usize, usize) {
    checked.iter().fold((0, 0, 0), |(good, skipped, problems), (_, report)| {
        (good + report.checked, skipped + report.skipped, problems + report.problems.len())
    })
}

fn print_text(checked: &[Checked]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for (file, report) in checked {
        for problem in &report.problems {
            let path = if problem.path.is_empty() { String::new() } else { format!("{}: ", problem.path) };
            let line = format!("{file}:{}: {path}{}", problem.line, problem.message);
            writeln!(out, "{}", one_line(&line))?;
        }
    }
    let (objects, skipped, problems) = totals(checked);
    writeln!(
        io::stderr(),
        "{}, {} of other kinds skipped, {}",
        count(objects, "object of Herald checked", "objects of Herald checked"),
        skipped,
        count(problems, "problem", "problems")
    )
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn print_json(checked: &[Checked]) -> io::Result<()> {
    let (objects, skipped, _) = totals(checked);
    let problems: Vec<_> = checked
        .iter()
        .flat_map(|(file, report)| report.problems.iter().map(move |problem| (file, problem)))
        .map(|(file, problem)| json!({ "file": file, "line": problem.line, "path": problem.path, "message": problem.message }))
        .collect();
    let whole = json!({ "checked": objects, "skipped": skipped, "problems": problems });
    writeln!(io::stdout(), "{}", escaped(&format!("{whole:#}")))
}
