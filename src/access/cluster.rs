//! Asks the API server: `TokenReview`, then `SubjectAccessReview`.

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use tracing::warn;

use super::{Action, Review, Verdict, token};
use crate::api::GROUP;

/// A review by the cluster that the client talks to.
#[derive(Clone)]
pub struct ClusterReview {
    client: kube::Client,
    audience: String,
}

impl ClusterReview {
    /// Tokens must be meant for `audience`, which should be this installation's
    /// alone: then a token given to another service is of no use here.
    pub fn new(client: kube::Client, audience: String) -> Self {
        Self { client, audience }
    }

    async fn ask(&self, token: &str, namespace: &str, action: Action) -> Result<Verdict, kube::Error> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), audiences: Some(vec![self.audience.clone()]) },
            ..TokenReview::default()
        };
        let review = Api::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        let Some(user) = authenticated(review, &self.audience) else { return Ok(Verdict::Unauthenticated) };
        let name = user.username.clone().unwrap_or_default();
        let review =
            SubjectAccessReview { spec: may_do(user, namespace, action), ..SubjectAccessReview::default() };
        let review = Api::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        // A denial outweighs a permission, though no authorizer should give both.
        let allowed = review.status.is_some_and(|status| status.allowed && status.denied != Some(true));
        Ok(if allowed { Verdict::Allowed } else { Verdict::Forbidden { user: name } })
    }
}

impl Review for ClusterReview {
    fn may_be_good(&self, token: &str) -> bool {
        token::names(token, &self.audience)
    }

    async fn review(&self, token: &str, namespace: &str, action: Action) -> Verdict {
        // The message of an error names the server and the request, not the token.
        self.ask(token, namespace, action).await.unwrap_or_else(|error| {
            warn!(%error, namespace, "cannot ask the API server who calls; refusing with 503");
            Verdict::Unavailable
        })
    }
}

/// The owner of the token. An authenticator that knows nothing of audiences
/// names none, and then the token may have been meant for anybody.
fn authenticated(review: TokenReview, audience: &str) -> Option<UserInfo> {
    let status = review.status?;
    let for_us = status.audiences.unwrap_or_default().iter().any(|given| given == audience);
    if status.authenticated == Some(true) && for_us { status.user } else { None }
}

fn may_do(user: UserInfo, namespace: &str, action: Action) -> SubjectAccessReviewSpec {
    SubjectAccessReviewSpec {
        user: user.username,
        groups: user.groups,
        uid: user.uid,
        extra: user.extra,
        resource_attributes: Some(ResourceAttributes {
            namespace: Some(namespace.to_owned()),
            verb: Some(action.verb.to_owned()),
            group: Some(GROUP.to_owned()),
            resource: Some(action.resource.to_owned()),
            subresource: action.subresource.map(str::to_owned),
            ..ResourceAttributes::default()
        }),
        ..SubjectAccessReviewSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::authentication::v1::TokenReviewStatus;

    use super::*;

    #[test]
    fn a_token_is_good_only_when_the_api_server_says_so_for_our_audience() {
        let status = |authenticated, audiences: Option<&[&str]>, user: Option<&str>| TokenReview {
            status: Some(TokenReviewStatus {
                authenticated,
                audiences: audiences.map(|list| list.iter().map(|a| (*a).to_owned()).collect()),
                user: user.map(|name| UserInfo { username: Some(name.to_owned()), ..UserInfo::default() }),
                error: None,
            }),
            ..TokenReview::default()
        };
        let table = [
            (status(Some(true), Some(&["herald"]), Some("a")), true),
            (status(Some(true), Some(&["other", "herald"]), Some("a")), true),
            (status(Some(true), Some(&["other"]), Some("a")), false),
            (status(Some(true), Some(&[]), Some("a")), false),
            (status(Some(true), None, Some("a")), false),
            (status(Some(true), Some(&["herald"]), None), false),
            (status(Some(false), Some(&["herald"]), Some("a")), false),
            (status(None, Some(&["herald"]), Some("a")), false),
            (TokenReview::default(), false),
        ];
        for (review, good) in table {
            assert_eq!(authenticated(review.clone(), "herald").is_some(), good, "{review:?}");
        }
    }

    #[test]
    fn everything_that_the_cluster_knows_of_the_user_goes_into_the_access_review() {
        let extra = [("scopes".to_owned(), vec!["a".to_owned()])].into();
        let user = UserInfo {
            username: Some("u".to_owned()),
            uid: Some("1".to_owned()),
            groups: Some(vec!["g".to_owned()]),
            extra: Some(extra),
        };
        let spec = may_do(user.clone(), "identity", Action::GET_PAYLOAD);
        assert_eq!(
            (spec.user, spec.uid, spec.groups, spec.extra),
            (user.username, user.uid, user.groups, user.extra)
        );
        let resource = spec.resource_attributes.unwrap();
        assert_eq!(resource.namespace.as_deref(), Some("identity"));
        assert_eq!(resource.verb.as_deref(), Some("get"));
        assert_eq!(resource.subresource.as_deref(), Some("payload"));
        assert_eq!(resource.group.as_deref(), Some("herald.dev"));
        assert_eq!(resource.resource.as_deref(), Some("userevents"));
    }
}
