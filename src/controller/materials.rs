//! Whether the Secrets and `ConfigMap`s that a Webhook names can be used.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt as _};

use super::decide::Fault;
use super::watched::WatchedWebhook;
use crate::api::{CONSENT_LABEL, Reason};
use crate::outbound::TlsSettings;
use crate::subscriptions::{Materials, ObjectName, Problem};

/// The verdict on what a Webhook names.
pub(super) struct Assessment {
    /// What is wrong with any of it.
    pub(super) fault: Option<Fault>,
    /// What a challenge needs of it, or what is wrong with that.
    pub(super) tls: Result<TlsSettings, Fault>,
}

impl Assessment {
    /// Looks things up in what the watch has brought. Only about a Secret that is
    /// not there the API server is asked, for its metadata.
    pub(super) async fn of(client: &Client, materials: &Materials, webhook: &WatchedWebhook) -> Self {
        let Ok(readable) = &webhook.spec else {
            return Self { fault: None, tls: Ok(TlsSettings::default()) };
        };
        let namespace = webhook.namespace().unwrap_or_default();
        let problem = match materials.resolve(&namespace, &readable.spec) {
            Ok(credentials) => return Self { fault: None, tls: Ok(credentials.tls) },
            Err(problem) => problem,
        };
        let tls = materials.tls_settings(&namespace, &readable.spec).map_err(plain);
        let fault = match &problem.missing {
            Some(secret)
                if problem.reason == Reason::SecretMissing
                    && exists_without_consent(client, secret).await =>
            {
                not_allowed(secret)
            }
            Some(_) | None => plain(problem),
        };
        Self { fault: Some(fault), tls }
    }
}

fn plain(problem: Problem) -> Fault {
    Fault { reason: problem.reason, message: problem.message }
}

fn not_allowed(secret: &ObjectName) -> Fault {
    let ObjectName { namespace, name } = secret;
    Fault {
        reason: Reason::SecretNotAllowed,
        message: format!(
            "Secret {name:?} does not agree to be used by webhooks; label it: \
             kubectl label secret -n {namespace} {name} {CONSENT_LABEL}=true"
        ),
    }
}

/// Where Herald may not ask, "missing" has to do: its message says both.
async fn exists_without_consent(client: &Client, secret: &ObjectName) -> bool {
    let api = Api::<Secret>::namespaced(client.clone(), &secret.namespace);
    match api.get_metadata_opt(&secret.name).await {
        Ok(Some(found)) => found.labels().get(CONSENT_LABEL).is_none_or(|value| value != "true"),
        Ok(None) | Err(_) => false,
    }
}
