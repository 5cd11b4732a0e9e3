//! The API server that `HERALD_TEST_KUBECONFIG` names, with the resources installed.

use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::{Client, Config};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::{DEADLINE, Namespace};

/// The field manager of what tests write.
pub const TEST_MANAGER: &str = "herald-e2e";

/// The tests' way to the API server, as an administrator.
#[derive(Clone)]
pub struct Cluster {
    config: Config,
    client: Client,
}

impl Cluster {
    /// Connects, and installs the definitions if no test of this process has yet.
    pub async fn connect() -> Self {
        static DEFINITIONS: OnceCell<()> = OnceCell::const_new();
        let cluster = Self::of(Path::new(&kubeconfig_path())).await;
        DEFINITIONS.get_or_init(|| install_definitions(&cluster.client)).await;
        cluster
    }

    /// Connects to another cluster, and installs the definitions there.
    pub async fn connect_to(kubeconfig: &Path) -> Self {
        let cluster = Self::of(kubeconfig).await;
        install_definitions(&cluster.client).await;
        cluster
    }

    async fn of(kubeconfig: &Path) -> Self {
        let config = config(kubeconfig).await;
        Self { client: Client::try_from(config.clone()).unwrap(), config }
    }

    /// The same with connections of its own. The API server closes one that it has waited on for half a
    /// minute, and a request that is on its way then fails: for tests that go on for longer.
    pub fn reconnected(&self) -> Self {
        Self { config: self.config.clone(), client: Client::try_from(self.config.clone()).unwrap() }
    }

    /// The same by way of somebody who passes requests on.
    pub fn by_way_of(&self, url: &str) -> Self {
        let mut config = self.config.clone();
        config.cluster_url = url.parse().unwrap();
        Self { client: Client::try_from(config.clone()).unwrap(), config }
    }

    /// The administrator's client.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Where the API server is and how the administrator gets in.
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// Whether the API server has the kind, which is the newest that Herald has use for.
    pub async fn serves_trust_bundles(&self) -> bool {
        let list = self.client.list_api_group_resources("certificates.k8s.io/v1").await;
        list.is_ok_and(|list| list.resources.iter().any(|kind| kind.name == "clustertrustbundles"))
    }

    /// A new namespace, deleted when dropped.
    pub async fn namespace(&self, prefix: &str) -> Namespace {
        Namespace::create(self, prefix).await
    }
}

/// The path in `HERALD_TEST_KUBECONFIG`: no other cluster is touched but one that a test itself starts.
pub fn kubeconfig_path() -> String {
    std::env::var("HERALD_TEST_KUBECONFIG").unwrap_or_else(|_| {
        panic!(
            "HERALD_TEST_KUBECONFIG is not set: run `make test`, or `tools/control-plane run -- cargo test`"
        )
    })
}

async fn config(path: &Path) -> Config {
    let kubeconfig = Kubeconfig::read_from(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    // A proxy for the way out has no business between a test and its API server.
    config.proxy_url = None;
    config
}

async fn install_definitions(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in herald::api::crds() {
        let name = crd.metadata.name.clone().unwrap();
        let params = PatchParams::apply(TEST_MANAGER).force();
        api.patch(&name, &params, &Patch::Apply(&crd)).await.unwrap();
        let established = await_condition(api.clone(), &name, is_crd_established());
        timeout(DEADLINE, established).await.unwrap_or_else(|_| panic!("{name} is not established")).unwrap();
    }
}
