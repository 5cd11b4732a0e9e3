//! The bearer token: from a file, or asked of the API server.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1 as core;
use kube::api::{Api, PostParams};

/// The shortest life that the API server grants, in seconds.
const LIFE_SECONDS: i64 = 600;

/// Namespace and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServiceAccount {
    namespace: String,
    name: String,
}

impl FromStr for ServiceAccount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err("write NAMESPACE/NAME".to_owned()),
        }
    }
}

/// Where a token comes from, so that there can be another when it has expired.
#[derive(Debug)]
pub(super) enum TokenSource {
    /// A file, such as a projected volume keeps fresh.
    File(PathBuf),
    /// The API server of the kubeconfig.
    Requested {
        /// Whose.
        account: ServiceAccount,
        /// For whom.
        audience: String,
    },
}

impl TokenSource {
    /// A token as it is now.
    pub(super) async fn token(&self) -> anyhow::Result<String> {
        match self {
            Self::File(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read the token in {}", path.display()))?;
                Ok(text.trim().to_owned())
            }
            Self::Requested { account: ServiceAccount { namespace, name }, audience } => {
                let client =
                    kube::Client::try_default().await.context("cannot reach a cluster for a token")?;
                let request = TokenRequest {
                    spec: Some(TokenRequestSpec {
                        audiences: Some(vec![audience.clone()]),
                        expiration_seconds: Some(LIFE_SECONDS),
                        ..TokenRequestSpec::default()
                    }),
                    ..TokenRequest::default()
                };
                let accounts: Api<core::ServiceAccount> = Api::namespaced(client, namespace);
                let answer = accounts
                    .create_token_request(name, &PostParams::default(), &request)
                    .await
                    .with_context(|| {
                        format!("cannot get a token of the ServiceAccount {namespace}/{name}")
                    })?;
                answer.status.and_then(|status| status.token).context("the API server gave no token")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_account_is_named_with_its_namespace() {
        let parsed = "identity/sender".parse::<ServiceAccount>().unwrap();
        assert_eq!((parsed.namespace.as_str(), parsed.name.as_str()), ("identity", "sender"));
        for text in ["sender", "/sender", "identity/", "a/b/c", ""] {
            assert!(text.parse::<ServiceAccount>().is_err(), "{text}");
        }
    }
}
