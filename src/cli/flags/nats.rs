//! Where NATS is, for the journal.

use std::path::PathBuf;

use clap::Args;
use reqwest::Url;

use crate::journal::jetstream::{Config, Credentials, Durability, Monitoring, Tls};

/// The journal on NATS, in place of a directory.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Journal on NATS")]
pub(in crate::cli) struct NatsFlags {
    /// Keep the journal on these servers of NATS, for any number of dispatchers: nats://HOST:PORT, or
    /// tls://HOST:PORT; several with commas between them
    #[arg(long, value_name = "SERVERS", requires = "nats_sync", value_parser = servers)]
    journal_nats: Option<String>,
    /// A file of NATS with a JWT and its seed (.creds)
    #[arg(long, value_name = "FILE", requires = "journal_nats", conflicts_with = "nats_nkey")]
    nats_credentials: Option<PathBuf>,
    /// A file with the seed of an NKey
    #[arg(long, value_name = "FILE", requires = "journal_nats")]
    nats_nkey: Option<PathBuf>,
    /// The authorities (PEM) of the servers, besides the system's
    #[arg(long, value_name = "FILE", requires = "journal_nats")]
    nats_ca: Option<PathBuf>,
    /// The certificate chain (PEM) that this process shows
    #[arg(long, value_name = "FILE", requires_all = ["journal_nats", "nats_key"])]
    nats_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "nats_cert")]
    nats_key: Option<PathBuf>,
    /// What the names of streams and subjects begin with
    #[arg(long, value_name = "NAME", default_value = "herald", value_parser = prefix)]
    nats_prefix: String,
    /// How many servers keep each message: 1, 3 or 5
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
    nats_replicas: u8,
    /// The monitoring endpoints of the servers: <http://HOST:8222>, or https; several with commas between them. Each
    /// address of each HOST is asked whether its server syncs what it acknowledges (`sync_interval: always`); where one
    /// does not, or a majority does not answer, this process ends
    #[arg(long, value_name = "URLS", requires = "journal_nats", group = "nats_sync", value_delimiter = ',',
        value_parser = monitoring)]
    nats_monitoring: Vec<Url>,
    /// Do not ask the servers whether they sync what they acknowledge: where one has no `sync_interval: always`, a power
    /// failure may take what was accepted in the last seconds, by default up to 2 minutes
    #[arg(long, requires = "journal_nats", group = "nats_sync")]
    nats_sync_unchecked: bool,
    /// Only check the streams, which an administrator has made
    #[arg(long, requires = "journal_nats")]
    nats_existing_streams: bool,
}

/// Addresses of servers, as they are.
fn servers(text: &str) -> Result<String, String> {
    for server in text.split(',') {
        let host = server.strip_prefix("nats://").or_else(|| server.strip_prefix("tls://"));
        if host.is_none_or(str::is_empty) {
            return Err(format!("write nats://HOST:PORT or tls://HOST:PORT in place of {server:?}"));
        }
        if host.is_some_and(|host| host.contains('@')) {
            return Err("write no password into an address: use --nats-credentials or --nats-nkey".to_owned());
        }
    }
    Ok(text.to_owned())
}

/// The address of a monitoring endpoint.
fn monitoring(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url =
        url.ok_or_else(|| format!("write http://HOST:PORT or https://HOST:PORT in place of {text:?}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("write no password into an address: monitoring endpoints have none".to_owned());
    }
    Ok(url)
}

fn prefix(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if !text.is_empty() && text.len() <= 32 && text.chars().all(good) {
        Ok(text.to_owned())
    } else {
        Err("write at most 32 of a-z, 0-9, - and _".to_owned())
    }
}

impl NatsFlags {
    /// `None` where the journal is not there.
    pub(in crate::cli) fn config(&self, instance: &str) -> Option<Config> {
        let servers = self.journal_nats.clone()?;
        Some(Config {
            credentials: Credentials { file: self.nats_credentials.clone(), nkey: self.nats_nkey.clone() },
            tls: Tls {
                required: servers.contains("tls://"),
                authorities: self.nats_ca.clone(),
                certificate: self.nats_cert.clone().zip(self.nats_key.clone()),
            },
            durability: match self.nats_monitoring.as_slice() {
                [] => Durability::Unchecked,
                urls => Durability::Checked(Monitoring::new(urls.to_vec())),
            },
            prefix: self.nats_prefix.clone(),
            replicas: self.nats_replicas.into(),
            existing: self.nats_existing_streams,
            instance: instance.to_owned(),
            ..Config::new(servers)
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct It {
        #[command(flatten)]
        nats: NatsFlags,
        #[arg(long)]
        journal_dir: Option<PathBuf>,
    }

    fn parsed(flags: &[&str]) -> Result<Durability, String> {
        let flags = ["it", "--journal-nats", "tls://nats:4222"].iter().chain(flags);
        let it = It::try_parse_from(flags).map_err(|error| error.to_string())?;
        Ok(it.nats.config("me").expect("a journal on NATS").durability)
    }

    #[test]
    fn whether_servers_sync_is_asked_or_somebody_has_said_that_it_is_not() {
        let Ok(Durability::Checked(asked)) = parsed(&["--nats-monitoring", "http://a:8222,https://b"]) else {
            panic!("they are not asked")
        };
        assert_eq!(asked.urls.iter().map(Url::as_str).collect::<Vec<_>>(), ["http://a:8222/", "https://b/"]);
        assert!(matches!(parsed(&["--nats-sync-unchecked"]), Ok(Durability::Unchecked)));
        let said = parsed(&[]).expect_err("nobody has said anything");
        assert!(said.contains("--nats-monitoring <URLS>|--nats-sync-unchecked"), "{said}");
        let both = ["--nats-sync-unchecked", "--nats-monitoring", "http://a:8222"];
        assert!(parsed(&both).expect_err("both").contains("cannot be used with"));
        let alone = It::try_parse_from(["it", "--nats-sync-unchecked"]).expect_err("there is no NATS");
        assert!(alone.to_string().contains("--journal-nats"), "{alone}");
    }

    #[test]
    fn an_address_that_is_none_is_told_what_to_write_instead() {
        assert!(servers("nats://a:4222,tls://b:4222").is_ok());
        for bad in ["", "a:4222", "http://a", "nats://", "nats://a:4222,"] {
            assert!(servers(bad).unwrap_err().contains("nats://HOST:PORT"), "{bad}");
        }
        assert!(servers("nats://user:secret@a:4222").unwrap_err().contains("--nats-credentials"));
        assert!(
            monitoring("http://nats-headless:8222").is_ok() && monitoring("https://[::1]:8222/base").is_ok()
        );
        for bad in ["", "nats:8222", "nats://nats:4222", "http://"] {
            assert!(monitoring(bad).unwrap_err().contains("http://HOST:PORT"), "{bad}");
        }
        assert!(monitoring("http://user:secret@a:8222").unwrap_err().contains("no password"));
        assert!(prefix("herald-2").is_ok() && prefix("He.rald").is_err() && prefix("").is_err());
    }
}
