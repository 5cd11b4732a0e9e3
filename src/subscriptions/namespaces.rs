//! Which part of the cluster this installation of Herald is for.

use std::cmp::Ordering;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectName {
    /// From its two parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Of an object as the API server gave it.
    pub fn of<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}

/// Every namespace, or those that are named, sorted: then Herald needs no right beyond them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces(Vec<String>);

/// One list and watch.
#[derive(Clone, Debug)]
pub enum Scope {
    /// Of the whole cluster.
    Cluster,
    /// Of one namespace.
    Namespace(String),
}

impl Namespaces {
    /// Those named; every namespace if none is.
    pub fn new(mut names: Vec<String>) -> Self {
        names.sort_unstable();
        names.dedup();
        Self(names)
    }

    /// The lists and watches that together cover them, in the order of their names.
    pub fn scopes(&self) -> Vec<Scope> {
        if self.0.is_empty() {
            return vec![Scope::Cluster];
        }
        self.0.iter().cloned().map(Scope::Namespace).collect()
    }

    /// Whether it is every namespace.
    pub fn are_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this namespace is one of them.
    pub fn contains(&self, namespace: &str) -> bool {
        self.0.is_empty() || self.0.binary_search_by(|name| name.as_str().cmp(namespace)).is_ok()
    }
}

impl Scope {
    /// Where it stands, in the order of [`Namespaces::scopes`], as seen from a namespace: equal if that is in it.
    pub(super) fn side_of(&self, namespace: &str) -> Ordering {
        match self {
            Self::Cluster => Ordering::Equal,
            Self::Namespace(name) => name.as_str().cmp(namespace),
        }
    }

    /// The API of a kind within the scope.
    pub fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType: Default>,
    {
        match self {
            Self::Cluster => Api::all(client.clone()),
            Self::Namespace(name) => Api::namespaced(client.clone(), name),
        }
    }
}
