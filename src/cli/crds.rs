//! `herald crds`: the custom resource definitions, made from the Rust types.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use crate::api;

/// Print the custom resource definitions, or write them to a folder.
#[derive(Debug, clap::Args)]
pub struct Crds {
    /// Write one file for each definition into this folder in place of printing them.
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// What to make of the definitions.
    #[arg(long, value_enum, default_value_t = Format::Yaml)]
    format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// For `kubectl apply`.
    Yaml,
    /// A reference of the fields for people.
    Markdown,
}

impl Crds {
    /// Does what the arguments say.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn run(&self) -> anyhow::Result<()> {
        for crd in api::crds() {
            let text = self.format.render(&crd)?;
            match &self.output_dir {
                None => io::stdout().write_all(text.as_bytes()).context("cannot print the definitions")?,
                Some(dir) => {
                    let path = dir.join(self.format.file_name(&crd));
                    fs::create_dir_all(dir)
                        .and_then(|()| fs::write(&path, text))
                        .with_context(|| format!("cannot write {}", path.display()))?;
                }
            }
        }
        Ok(())
    }
}

impl Format {
    /// `herald.dev_webhooks.yaml`, as controller generators name them, or `webhook-reference.md`.
    fn file_name(self, crd: &CustomResourceDefinition) -> String {
        let names = &crd.spec.names;
        match self {
            Self::Yaml => format!("{}_{}.yaml", crd.spec.group, names.plural),
            Self::Markdown => format!("{}-reference.md", names.kind.to_lowercase()),
        }
    }

    /// One document, the same for the same types.
    fn render(self, crd: &CustomResourceDefinition) -> anyhow::Result<String> {
        match self {
            Self::Yaml => {
                let text = serde_saphyr::to_string(crd).context("cannot write the definition as YAML")?;
                Ok(format!("---\n# Generated from the Rust types by `herald crds`; do not edit.\n{text}"))
            }
            Self::Markdown => {
                let mut text =
                    "<!-- Generated from the Rust types by `herald crds --format markdown`; do not edit. -->\n"
                        .to_owned();
                api::write_reference(crd, &mut text).context("cannot write the reference")?;
                Ok(text.trim_end().to_owned() + "\n")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `make generate` writes the files again.
    #[test]
    fn the_generated_files_are_those_that_the_types_say() {
        for (folder, format) in [("crds", Format::Yaml), ("docs", Format::Markdown)] {
            for crd in api::crds() {
                let path = format!("{}/{folder}/{}", env!("CARGO_MANIFEST_DIR"), format.file_name(&crd));
                let stored = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
                assert!(stored == format.render(&crd).unwrap(), "{path} is out of date: run `make generate`");
            }
        }
    }
}
