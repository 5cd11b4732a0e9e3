//! The flags of Herald's own CA and serving certificate.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{ArgAction, Args};
use jiff::SignedDuration;

use super::flags::duration;
use crate::certificates::{Config, Lifetimes, LifetimesError, ServingNames};
use crate::model::Clock;
use crate::subscriptions::Namespaces;

/// Who vouches for ingestion.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Serving certificate")]
pub(super) struct ServingCertificateFlags {
    /// Keep a CA in the Secret NAME-ca, a certificate of it for ingestion in the Secret NAME-tls, and
    /// the CA's certificate in a ConfigMap NAME-ca here and in each namespace labelled
    /// herald.dev/producer=true [default: none of it]
    #[arg(long, value_name = "NAME", requires = "serving_names")]
    serving_certificate: Option<String>,
    /// A DNS name or an IP address by which producers call ingestion (repeat for more)
    #[arg(long = "serving-name", value_name = "HOST", requires = "serving_certificate")]
    serving_names: Vec<String>,
    /// How long a CA lives
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = duration)]
    ca_lifetime: Duration,
    /// How long a serving certificate lives; it is renewed when a third of that is left
    #[arg(long, value_name = "DURATION", default_value = "720h", value_parser = duration)]
    certificate_lifetime: Duration,
    /// How long producers have to take up a new CA before it signs
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
    ca_lead: Duration,
    /// Whether to keep the CA's certificates in a cluster trust bundle too, where the API server has such a kind
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    cluster_trust_bundle: bool,
    /// The cluster role that owns what is made: when it is removed with Herald, so is that
    #[arg(long, value_name = "NAME", requires = "serving_certificate")]
    owner_cluster_role: Option<String>,
}

impl ServingCertificateFlags {
    /// What they ask for; `None` if for nothing.
    pub(super) fn config(
        &self,
        own_namespace: &str,
        namespaces: Namespaces,
    ) -> anyhow::Result<Option<Config>> {
        let Some(name) = self.serving_certificate.clone() else { return Ok(None) };
        ensure!(
            is_name(&name),
            "--serving-certificate {name}: write lower-case letters, digits and dashes, at most 200"
        );
        let names = ServingNames::new(&self.serving_names).context("--serving-name")?;
        Ok(Some(Config {
            own_namespace: own_namespace.to_owned(),
            namespaces,
            name,
            names,
            lifetimes: self.lifetimes()?,
            owner: self.owner_cluster_role.clone(),
            cluster_trust_bundle: self.cluster_trust_bundle,
            clock: Clock::default(),
        }))
    }

    fn lifetimes(&self) -> anyhow::Result<Lifetimes> {
        match Lifetimes::new(self.ca_lifetime, self.certificate_lifetime, self.ca_lead) {
            Ok(lifetimes) => Ok(lifetimes),
            Err(LifetimesError::CertificateTooShort) => bail!("--certificate-lifetime: write at least 1s"),
            Err(LifetimesError::LeadTooShort) => bail!("--ca-lead: write at least 1s"),
            Err(LifetimesError::CaTooLong) => bail!("--ca-lifetime: write at most 876000h, a hundred years"),
            Err(LifetimesError::CaTooShort(least)) => match SignedDuration::try_from(least) {
                Ok(least) => {
                    let sum = "three times --certificate-lifetime and twice --ca-lead";
                    bail!("--ca-lifetime: write at least {least:#}, {sum}, or make those shorter")
                }
                Err(_) => bail!("--certificate-lifetime, --ca-lead: write less"),
            },
        }
    }
}

/// Names of Kubernetes objects can be made of it.
fn is_name(text: &str) -> bool {
    let letters = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    letters && !text.is_empty() && text.len() <= 200 && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        flags: ServingCertificateFlags,
    }

    fn config(arguments: &str) -> anyhow::Result<Option<Config>> {
        let command = Command::try_parse_from(["herald"].into_iter().chain(arguments.split_whitespace()))?;
        command.flags.config("herald", Namespaces::default())
    }

    #[test]
    fn nothing_is_kept_unless_it_is_asked_for() {
        assert!(config("").unwrap().is_none());
        let config =
            config("--serving-certificate herald --serving-name herald.example.com").unwrap().unwrap();
        assert_eq!(config.lifetimes, Lifetimes::default());
        assert_eq!(config.owner, None);
    }

    #[test]
    fn what_cannot_work_is_refused_with_what_to_write() {
        for (arguments, expected) in [
            ("--serving-certificate herald", "--serving-name"),
            ("--serving-name herald", "--serving-certificate"),
            ("--owner-cluster-role herald", "--serving-certificate"),
            ("--serving-certificate Herald --serving-name a", "lower-case letters"),
            ("--serving-certificate herald --serving-name https://a", "https://a is neither"),
            ("--serving-certificate herald --serving-name a --ca-lead 0s", "--ca-lead: write at least 1s"),
            ("--serving-certificate herald --serving-name a --certificate-lifetime 0s", "write at least 1s"),
            ("--serving-certificate herald --serving-name a --ca-lifetime 100h", "write at least 2208h,"),
            ("--serving-certificate herald --serving-name a --ca-lifetime 1000000h", "a hundred years"),
            ("--serving-certificate herald --serving-name a --ca-lead 30d", "write a duration such as"),
        ] {
            let error = format!("{:#}", config(arguments).unwrap_err());
            assert!(error.contains(expected), "{arguments}: {error}");
        }
    }
}
