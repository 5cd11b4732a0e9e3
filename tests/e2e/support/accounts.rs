//! Accounts that talk to Herald, and their tokens.

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::PostParams;
use serde_json::{Value, json};

use super::Namespace;

impl Namespace {
    /// A ServiceAccount that may do nothing.
    pub async fn service_account(&self, name: &str) {
        self.apply::<ServiceAccount>(&serde_json::from_value(json!({"metadata": {"name": name}})).unwrap())
            .await;
    }

    /// Lets a ServiceAccount, of whichever namespace, send user events to this one.
    pub async fn allow_sending(&self, account_namespace: &str, account: &str) {
        self.allow(account_namespace, account, &[("create", "userevents")]).await;
    }

    /// Lets a ServiceAccount, of whichever namespace, do these things with Herald's own resources here, and no other.
    pub async fn allow(&self, account_namespace: &str, account: &str, rights: &[(&str, &str)]) {
        let to_rule = |(verb, resource): &(&str, &str)| json!({"apiGroups": ["herald.dev"], "resources": [resource], "verbs": [verb]});
        let rules = rights.iter().map(to_rule).collect();
        self.bind(&format!("herald-{account}"), account_namespace, account, rules).await;
    }

    async fn bind(&self, name: &str, account_namespace: &str, account: &str, rules: Value) {
        let role = json!({"metadata": {"name": name}, "rules": rules});
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "namespace": account_namespace, "name": account}],
        });
        self.apply::<Role>(&serde_json::from_value(role).unwrap()).await;
        self.apply::<RoleBinding>(&serde_json::from_value(binding).unwrap()).await;
    }

    /// Makes a ServiceAccount of the namespace its administrator, with every right that a Role can give.
    pub async fn allow_everything(&self, account: &str) {
        let rule = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
        self.bind("everything", self.name(), account, json!([rule])).await;
    }

    /// A token of a ServiceAccount for one audience; the API server allows no
    /// lifetime under ten minutes.
    pub async fn token(&self, account: &str, audience: &str) -> String {
        self.token_for(account, Some(vec![audience.to_owned()])).await
    }

    /// A token of a ServiceAccount for the API server itself.
    pub async fn token_for_the_cluster(&self, account: &str) -> String {
        self.token_for(account, None).await
    }

    async fn token_for(&self, account: &str, audiences: Option<Vec<String>>) -> String {
        let spec =
            TokenRequestSpec { audiences, expiration_seconds: Some(600), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let api = self.api::<ServiceAccount>();
        let answer = api.create_token_request(account, &PostParams::default(), &request).await.unwrap();
        answer.status.unwrap().token.unwrap()
    }

    /// A ServiceAccount that may send here, and its token.
    pub async fn sender(&self, account: &str, audience: &str) -> String {
        self.service_account(account).await;
        self.allow_sending(self.name(), account).await;
        self.token(account, audience).await
    }
}
