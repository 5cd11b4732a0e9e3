//! Where NATS is, for the journal.

use std::path::PathBuf;

use clap::Args;

use crate::journal::jetstream::{Config, Credentials, Tls};

/// The journal on NATS, in place of a directory.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Journal on NATS")]
pub(super) struct NatsFlags {
    /// Keep the journal on these servers of NATS, for any number of dispatchers: nats://HOST:PORT, or
    /// tls://HOST:PORT; several with commas between them
    #[arg(long, value_name = "SERVERS", conflicts_with = "journal_dir", value_parser = servers)]
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
    pub(super) fn config(&self, instance: &str) -> Option<Config> {
        let servers = self.journal_nats.clone()?;
        Some(Config {
            credentials: Credentials { file: self.nats_credentials.clone(), nkey: self.nats_nkey.clone() },
            tls: Tls {
                required: servers.contains("tls://"),
                authorities: self.nats_ca.clone(),
                certificate: self.nats_cert.clone().zip(self.nats_key.clone()),
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
    use super::*;

    #[test]
    fn an_address_that_is_none_is_told_what_to_write_instead() {
        assert!(servers("nats://a:4222,tls://b:4222").is_ok());
        for bad in ["", "a:4222", "http://a", "nats://", "nats://a:4222,"] {
            assert!(servers(bad).unwrap_err().contains("nats://HOST:PORT"), "{bad}");
        }
        assert!(servers("nats://user:secret@a:4222").unwrap_err().contains("--nats-credentials"));
        assert!(prefix("herald-2").is_ok() && prefix("He.rald").is_err() && prefix("").is_err());
    }
}
