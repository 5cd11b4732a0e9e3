//! Single rights: those that roles grant, and those that requests need.
//!
//! ```text
//! roles, bindings ─> Right … ┐
//! audit log ─> Right …       ┴─> which granted right does no request need?
//! ```

use std::collections::BTreeSet;
use std::fmt;

use futures::future::join_all;
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use serde_json::{Value, json};

use crate::support::Cluster;
use crate::support::audit::Asked;
use crate::support::chart::{items, may, text, texts};

/// One verb on one kind, of one name or of any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// Whose it is.
    pub user: String,
    /// Where; none for the whole cluster.
    pub namespace: Option<String>,
    pub group: String,
    /// With its subresource.
    pub resource: String,
    pub verb: String,
    /// None for any.
    pub name: Option<String>,
}

/// A right that somebody has.
#[derive(Clone, Debug)]
pub struct Granted {
    pub right: Right,
    /// The rule that it is from: the place of the role among the manifests, and its own in the role.
    pub rule: (usize, usize),
}

/// What the bindings among the manifests grant.
pub fn granted(manifests: &[Value]) -> Vec<Granted> {
    let mut all = Vec::new();
    for binding in manifests.iter().filter(|object| text(object, "/kind").ends_with("RoleBinding")) {
        let role = manifests.iter().enumerate().find(|(_, role)| {
            text(role, "/kind") == text(binding, "/roleRef/kind")
                && text(role, "/metadata/name") == text(binding, "/roleRef/name")
                && text(role, "/metadata/namespace") == text(binding, "/metadata/namespace")
        });
        let (number, role) = role.unwrap_or_else(|| panic!("no role for {binding}"));
        for subject in items(binding, "/subjects") {
            let (namespace, name) = (text(subject, "/namespace"), text(subject, "/name"));
            let user = format!("system:serviceaccount:{namespace}:{name}");
            for (index, manifest) in items(role, "/rules").iter().enumerate() {
                let place = Some(text(binding, "/metadata/namespace")).filter(|place| !place.is_empty());
                let places = (number, index);
                all.extend(
                    rights(&user, place, manifest).into_iter().map(|right| Granted { right, rule: places }),
                );
            }
        }
    }
    all
}

fn rights(user: &str, place: Option<&str>, rule: &Value) -> Vec<Right> {
    let names = texts(rule, "/resourceNames");
    let names: Vec<_> = if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
    let mut all = Vec::new();
    for group in texts(rule, "/apiGroups") {
        for resource in texts(rule, "/resources") {
            for verb in texts(rule, "/verbs") {
                all.extend(names.iter().map(|name| Right {
                    user: user.to_owned(),
                    namespace: place.map(str::to_owned),
                    group: group.clone(),
                    resource: resource.clone(),
                    verb: verb.clone(),
                    name: name.clone(),
                }));
            }
        }
    }
    all
}

/// The rights that a request needed, or one of which it lacked.
pub fn needed(asked: &Asked) -> Vec<Right> {
    let needed = Right {
        user: asked.user.clone(),
        namespace: asked.namespace.clone(),
        group: asked.group.clone(),
        resource: asked.resource.clone(),
        verb: asked.verb.clone(),
        name: asked.name.clone(),
    };
    let mut all = vec![needed.clone()];
    if asked.verb == "patch" {
        // An apply of what is not there yet; it is looked at under its name.
        if matches!(asked.code, 201 | 403) {
            all.push(Right { verb: "create".to_owned(), ..needed.clone() });
        }
        // The signer is in the name of its bundle, and is in no request of its own.
        if let Some((signer, path, _)) =
            asked.name.as_deref().filter(|_| asked.resource == "clustertrustbundles").and_then(parts)
        {
            let (resource, verb) = ("signers".to_owned(), "attest".to_owned());
            all.push(Right { resource, verb, name: Some(format!("{signer}/{path}")), ..needed });
        }
    }
    all
}

/// The three parts of a bundle's name.
fn parts(name: &str) -> Option<(&str, &str, &str)> {
    let mut parts = name.splitn(3, ':');
    Some((parts.next()?, parts.next()?, parts.next()?))
}

/// Takes rights away from the roles, by their places among those that are granted; gives what
/// is granted then, and what is lost.
pub fn take_away(manifests: &mut [Value], places: &[usize]) -> (Vec<Granted>, Vec<Right>) {
    let (mut kept, mut lost) = (Vec::new(), Vec::new());
    for (place, it) in granted(manifests).into_iter().enumerate() {
        if places.contains(&place) { lost.push(it) } else { kept.push(it) }
    }
    for (role, rule) in lost.iter().map(|it| it.rule).collect::<BTreeSet<_>>().into_iter().rev() {
        let rules = manifests.get_mut(role).and_then(|role| role["rules"].as_array_mut()).unwrap();
        rules.remove(rule);
        // At the end, for the places of the others to stay as they are.
        rules.extend(kept.iter().filter(|it| it.rule == (role, rule)).map(|it| it.right.rule()));
    }
    (kept, lost.into_iter().map(|it| it.right).collect())
}

/// The granted rights of which each could be taken away, and no request would have been refused.
pub fn needless<'g>(granted: &'g [Granted], asked: &[Asked]) -> Vec<&'g Right> {
    let mut needless: Vec<_> = granted.iter().map(|it| &it.right).collect();
    for needed in asked.iter().filter(|asked| asked.code != 403).flat_map(needed) {
        let mut by = granted.iter().map(|it| &it.right).filter(|right| right.covers(&needed));
        if let (Some(only), None) = (by.next(), by.next()) {
            needless.retain(|right| *right != only);
        }
    }
    needless
}

/// Those that the API server says are there.
pub async fn allowed(cluster: &Cluster, asked: impl IntoIterator<Item = Right>) -> Vec<Right> {
    let asked: Vec<_> = asked.into_iter().collect();
    let mut allowed = Vec::new();
    // So many at one time.
    for some in asked.chunks(8) {
        let answers = join_all(some.iter().map(|right| may(cluster, &right.user, right.attributes()))).await;
        let with_answers = some.iter().zip(answers);
        allowed.extend(with_answers.filter(|(_, yes)| *yes).map(|(right, _)| right.clone()));
    }
    allowed
}

impl Right {
    /// Whether it is enough for that one.
    pub fn covers(&self, needed: &Self) -> bool {
        let of = |right: &Self| {
            let Self { user, group, resource, verb, .. } = right.clone();
            (user, group, resource, verb)
        };
        of(self) == of(needed)
            && (self.namespace.is_none() || self.namespace == needed.namespace)
            && (self.name.is_none() || self.name == needed.name)
    }

    /// A rule that grants it alone.
    fn rule(&self) -> Value {
        let Self { group, resource, verb, name, .. } = self;
        let names: Vec<_> = name.iter().collect();
        json!({"apiGroups": [group], "resources": [resource], "verbs": [verb], "resourceNames": names})
    }

    /// As the API server is asked for it.
    fn attributes(&self) -> ResourceAttributes {
        let (resource, subresource) = match self.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (self.resource.as_str(), None),
        };
        ResourceAttributes {
            group: Some(self.group.clone()),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            resource: Some(resource.to_owned()),
            subresource,
            verb: Some(self.verb.clone()),
            ..ResourceAttributes::default()
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, namespace, group, resource, verb, name } = self;
        let account = user.rsplit(':').next().unwrap_or_default();
        write!(f, "{account}: {verb} {resource}.{group}")?;
        if let Some(name) = name {
            write!(f, " {name}")?;
        }
        write!(f, " in {}", namespace.as_deref().unwrap_or("all namespaces"))
    }
}
