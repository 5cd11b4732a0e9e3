//! A pod of the chart, as a process of this machine.
//!
//! What a kubelet does is done here: volumes become directories, and the
//! arguments are those of the manifest, with those directories in place of
//! where they would be mounted, and free ports of the loopback interface.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Child;

use super::Namespace;
use super::chart::{items, text, texts};
use super::objects::until_there;
use super::program::{Log, binary, terminate};

/// A pod, and the volumes that outlive its process.
pub struct Pod {
    template: Value,
    directory: TempDir,
    log: Arc<Log>,
    child: Option<Child>,
    said_before: usize,
}

impl Pod {
    /// Of a `Deployment` or a `StatefulSet`; it reaches the API server at `server` by `token`.
    pub fn of(workload: &Value, server: &str, token: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": {"server": server}}],
            "users": [{"name": "it", "user": {"token": token}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "current-context": "it",
        });
        std::fs::write(directory.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
        let template = workload.pointer("/spec/template/spec").unwrap().clone();
        Self { template, directory, log: Arc::default(), child: None, said_before: 0 }
    }

    /// The value of an argument of the manifest.
    pub fn argument(&self, name: &str) -> String {
        let prefix = format!("--{name}=");
        let found = self.arguments().into_iter().find_map(|it| it.strip_prefix(&prefix).map(str::to_owned));
        found.unwrap_or_else(|| panic!("no --{name} in {:?}", self.arguments()))
    }

    /// Starts it in its namespace, once there is what it mounts.
    pub async fn start(&mut self, own: &Namespace) {
        assert!(self.child.is_none(), "it still runs");
        self.mount(own).await;
        let mut command = binary();
        command.args(self.arguments().iter().map(|argument| self.on_this_machine(argument)));
        command.env("KUBECONFIG", self.directory.path().join("kubeconfig"));
        command.env("POD_NAME", "herald-0").env("POD_NAMESPACE", own.name());
        self.said_before = self.log.len();
        self.child = Some(self.log.clone().spawn(&mut command));
    }

    /// The address that it logs with this message.
    pub async fn address(&self, message: &str) -> SocketAddr {
        self.log.address(self.said_before, message).await
    }

    /// Ends it by SIGTERM, and checks that it went well.
    pub async fn stop(&mut self) {
        let status = terminate(self.child.take().expect("it runs")).await;
        assert!(status.success(), "{status}; its log:\n{}", self.log.text());
    }

    fn arguments(&self) -> Vec<String> {
        texts(&self.template, "/containers/0/args")
    }

    fn on_this_machine(&self, argument: &str) -> String {
        let address = |value: &str| value.parse::<SocketAddr>().ok().filter(|it| it.ip().is_unspecified());
        let argument = match argument.split_once('=') {
            Some((flag, value)) if address(value).is_some() => format!("{flag}=127.0.0.1:0"),
            Some(_) | None => argument.to_owned(),
        };
        items(&self.template, "/containers/0/volumeMounts").iter().fold(argument, |argument, mount| {
            let there = format!("={}/", text(mount, "/mountPath"));
            let here = format!("={}/", self.volume(text(mount, "/name")).display());
            argument.replace(&there, &here)
        })
    }

    fn volume(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join("volumes").join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// Fills the volumes that are made of objects; what they lack is waited for.
    async fn mount(&self, own: &Namespace) {
        for volume in items(&self.template, "/volumes") {
            let path = self.volume(text(volume, "/name"));
            if let Some(secret) = volume.get("secret") {
                let secret = until_there(&own.api::<Secret>(), text(secret, "/secretName"), |_| true).await;
                let entries = secret.data.unwrap_or_default();
                write(
                    &path,
                    volume.pointer("/secret/items"),
                    entries.into_iter().map(|(key, value)| (key, value.0)),
                );
            } else if let Some(map) = volume.get("configMap") {
                let map = until_there(&own.api::<ConfigMap>(), text(map, "/name"), |_| true).await;
                let entries = map.data.unwrap_or_default();
                write(&path, None, entries.into_iter().map(|(key, value)| (key, value.into_bytes())));
            }
        }
    }
}

/// Writes the entries that `items` names, or all.
fn write(directory: &Path, items: Option<&Value>, entries: impl Iterator<Item = (String, Vec<u8>)>) {
    for (key, value) in entries {
        let items = items.and_then(Value::as_array);
        let path = match items {
            None => Some(key.as_str()),
            Some(items) => {
                items.iter().find(|item| text(item, "/key") == key).map(|item| text(item, "/path"))
            }
        };
        if let Some(path) = path {
            std::fs::write(directory.join(path), value).unwrap();
        }
    }
}

impl Drop for Pod {
    #[expect(clippy::print_stderr, reason = "the test runner shows it beside the panic")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the end of the log of {:?}:\n{}", self.arguments().first(), self.log.end());
        }
    }
}
