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
}

impl Crds {
    /// Does what the arguments say.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn run(&self) -> anyhow::Result<()> {
        for crd in api::crds() {
            let text = yaml(&crd)?;
            match &self.output_dir {
                None => io::stdout().write_all(text.as_bytes()).context("cannot print the definitions")?,
                Some(dir) => {
                    let path = dir.join(file_name(&crd));
                    fs::create_dir_all(dir)
                        .and_then(|()| fs::write(&path, text))
                        .with_context(|| format!("cannot write {}", path.display()))?;
                }
            }
        }
        Ok(())
    }
}

/// `herald.dev_webhooks.yaml`: group and plural, as controller generators name them.
fn file_name(crd: &CustomResourceDefinition) -> String {
    format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural)
}

/// One YAML document, the same for the same types.
fn yaml(crd: &CustomResourceDefinition) -> anyhow::Result<String> {
    let text = serde_saphyr::to_string(crd).context("cannot write the definition as YAML")?;
    Ok(format!("---\n# Generated from the Rust types by `herald crds`; do not edit.\n{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `make generate` writes the files again.
    #[test]
    fn the_files_in_crds_are_those_that_the_types_say() {
        for crd in api::crds() {
            let path = format!("{}/crds/{}", env!("CARGO_MANIFEST_DIR"), file_name(&crd));
            let stored = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
            assert!(stored == yaml(&crd).unwrap(), "{path} is out of date: run `make generate`");
        }
    }
}
