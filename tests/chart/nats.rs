//! A journal on NATS: many dispatchers without a volume, and what is refused.

use serde_json::{Value, json};

use super::render::{objects, refusal, rendered};

const NATS: [&str; 4] =
    ["--set", "journal.type=nats", "--set", "journal.nats.servers={tls://nats.nats.svc:4222}"];

/// The objects with a journal on NATS and these values beside.
fn with(values: &[&str]) -> Vec<Value> {
    let values = values.iter().flat_map(|value| ["--set", value]);
    objects(&NATS.into_iter().chain(values).collect::<Vec<_>>())
}

fn of_kind<'o>(objects: &'o [Value], kind: &str) -> Vec<&'o Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The dispatcher's object of this kind.
fn dispatcher<'o>(objects: &'o [Value], kind: &str) -> &'o Value {
    let of_it = of_kind(objects, kind);
    let found = of_it.into_iter().find(|object| object["metadata"]["name"] == "herald-dispatcher");
    found.unwrap_or_else(|| panic!("no {kind} of the dispatcher"))
}

fn arguments(workload: &Value) -> Vec<&str> {
    let arguments = &workload["spec"]["template"]["spec"]["containers"][0]["args"];
    arguments.as_array().unwrap().iter().map(|argument| argument.as_str().unwrap()).collect()
}

fn has(arguments: &[&str], prefix: &str) -> bool {
    arguments.iter().any(|argument| argument.starts_with(prefix))
}

#[test]
fn the_dispatchers_are_a_deployment_that_keeps_nothing() {
    let objects = with(&[]);
    assert!(of_kind(&objects, "StatefulSet").is_empty());
    assert!(!rendered(&NATS).contains("persistentVolumeClaim"));
    let deployment = dispatcher(&objects, "Deployment");
    let spec = &deployment["spec"];
    assert_eq!(spec["replicas"], 3);
    assert_eq!(spec["strategy"]["rollingUpdate"], json!({"maxSurge": 1, "maxUnavailable": 0}));
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["terminationGracePeriodSeconds"], 60);
    assert!(!pod.to_string().contains("\"journal\""), "{pod}");
    let arguments = arguments(deployment);
    assert!(arguments.contains(&"--journal-nats=tls://nats.nats.svc:4222"), "{arguments:?}");
    for (flag, value) in [("prefix", "herald"), ("replicas", "3")] {
        assert!(arguments.contains(&format!("--nats-{flag}={value}").as_str()), "{arguments:?}");
    }
    for absent in ["--journal-dir", "--journal-reserve", "--nats-existing", "--nats-nkey", "--nats-c"] {
        assert!(!has(&arguments, absent), "{absent}: {arguments:?}");
    }
    let one = with(&["dispatcher.replicas=1"]);
    assert_eq!(dispatcher(&one, "Deployment")["spec"]["replicas"], 1);
}

/// But for what belongs to the journal, a pod is the same whatever its workload is.
#[test]
fn the_pod_is_the_one_that_a_volume_would_have() {
    let own = |objects: &[Value], kind: &str| {
        let mut template = dispatcher(objects, kind)["spec"]["template"].clone();
        let spec = template["spec"].as_object_mut().unwrap();
        spec.remove("topologySpreadConstraints");
        spec["volumes"].as_array_mut().unwrap().retain(|volume| volume["name"] != "journal");
        let container = spec["containers"][0].as_object_mut().unwrap();
        container.remove("lifecycle");
        container["volumeMounts"].as_array_mut().unwrap().retain(|mount| mount["name"] != "journal");
        let of_the_journal = ["--journal-", "--nats-"];
        container["args"].as_array_mut().unwrap().retain(|argument| {
            !of_the_journal.iter().any(|prefix| argument.as_str().unwrap().starts_with(prefix))
        });
        template
    };
    assert_eq!(own(&with(&[]), "Deployment"), own(&objects(&[]), "StatefulSet"));
}

#[test]
fn pods_are_spread_and_drained_one_at_a_time() {
    let objects = with(&[]);
    let deployment = dispatcher(&objects, "Deployment");
    let constraints = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"].as_array().unwrap();
    let keys: Vec<_> = constraints.iter().map(|it| it["topologyKey"].as_str().unwrap()).collect();
    assert_eq!(keys, ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]);
    for constraint in constraints {
        assert_eq!(constraint["whenUnsatisfiable"], "ScheduleAnyway");
        assert_eq!(constraint["labelSelector"], deployment["spec"]["selector"]);
    }
    assert_eq!(dispatcher(&objects, "PodDisruptionBudget")["spec"]["maxUnavailable"], 1);
    let named = with(&[
        "dispatcher.topologySpreadConstraints[0].maxSkew=2",
        "dispatcher.topologySpreadConstraints[0].topologyKey=rack",
        "dispatcher.topologySpreadConstraints[0].whenUnsatisfiable=DoNotSchedule",
    ]);
    let spec = &dispatcher(&named, "Deployment")["spec"]["template"]["spec"];
    let [constraint] = &spec["topologySpreadConstraints"].as_array().unwrap()[..] else { panic!("{spec}") };
    assert_eq!((&constraint["maxSkew"], &constraint["topologyKey"]), (&json!(2), &json!("rack")));
}

#[test]
fn an_autoscaler_goes_by_the_processor_or_by_what_it_is_told() {
    assert!(of_kind(&with(&[]), "HorizontalPodAutoscaler").is_empty());
    let objects = with(&["dispatcher.autoscaling.enabled=true", "dispatcher.autoscaling.maxReplicas=7"]);
    let deployment = dispatcher(&objects, "Deployment");
    assert!(deployment["spec"]["replicas"].is_null(), "each upgrade would take back what was scaled");
    let spec = &dispatcher(&objects, "HorizontalPodAutoscaler")["spec"];
    assert_eq!(spec["scaleTargetRef"]["name"], deployment["metadata"]["name"]);
    assert_eq!((&spec["minReplicas"], &spec["maxReplicas"]), (&json!(3), &json!(7)));
    let cpu = json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}});
    assert_eq!(spec["metrics"], json!([{"type": "Resource", "resource": cpu}]));

    let age = json!({"type": "External", "external": {"metric": {"name": "age"}, "target": {"type": "Value", "value": "30"}}});
    let metrics = format!("dispatcher.autoscaling.metrics={}", json!([age]));
    let arguments = ["--set", "dispatcher.autoscaling.enabled=true", "--set-json", &metrics];
    let objects = super::render::objects(&[&NATS[..], &arguments].concat());
    assert_eq!(dispatcher(&objects, "HorizontalPodAutoscaler")["spec"]["metrics"], json!([age]));
}

#[test]
fn files_for_nats_are_mounted_alone_and_named_by_flags() {
    let objects = with(&[
        "journal.nats.existingStreams=true",
        "journal.nats.credentialsSecret.name=account",
        "journal.nats.tls.caSecret.name=authority",
        "journal.nats.tls.caSecret.key=bundle.pem",
        "journal.nats.tls.clientSecret.name=client",
    ]);
    let deployment = dispatcher(&objects, "Deployment");
    let arguments = arguments(deployment);
    for flag in [
        "--nats-existing-streams",
        "--nats-credentials=/etc/herald/nats-credentials/nats.creds",
        "--nats-ca=/etc/herald/nats-ca/bundle.pem",
        "--nats-cert=/etc/herald/nats-client/tls.crt",
        "--nats-key=/etc/herald/nats-client/tls.key",
    ] {
        assert!(arguments.contains(&flag), "{flag}: {arguments:?}");
    }
    let spec = &deployment["spec"]["template"]["spec"];
    let list = |pointer: &str| spec.pointer(pointer).unwrap().as_array().unwrap().clone();
    let (volumes, mounts) = (list("/volumes"), list("/containers/0/volumeMounts"));
    for (name, secret, keys) in [
        ("nats-credentials", "account", &["nats.creds"][..]),
        ("nats-ca", "authority", &["bundle.pem"]),
        ("nats-client", "client", &["tls.crt", "tls.key"]),
    ] {
        let items: Vec<_> = keys.iter().map(|key| json!({"key": key, "path": key})).collect();
        let volume = json!({"name": name, "secret": {"secretName": secret, "items": items}});
        assert!(volumes.contains(&volume), "{volume}: {volumes:?}");
        let mount = json!({"name": name, "mountPath": format!("/etc/herald/{name}"), "readOnly": true});
        assert!(mounts.contains(&mount), "{mount}: {mounts:?}");
    }
}

#[test]
fn a_dispatcher_may_reach_the_ports_of_nats_in_pods_and_a_controller_need_not() {
    let rules = |objects: &[Value], name: &str| {
        let policies = of_kind(objects, "NetworkPolicy");
        let policy = policies.into_iter().find(|policy| policy["metadata"]["name"] == name).unwrap();
        policy["spec"]["egress"].as_array().unwrap().clone()
    };
    let ports = |ports: &[u16]| {
        let ports: Vec<_> = ports.iter().map(|port| json!({"port": port, "protocol": "TCP"})).collect();
        json!(ports)
    };
    let plain = objects(&[]);
    let some = with(&[]);
    let more = with(&[
        "journal.nats.servers={tls://nats,tls://[2001:db8::1],tls://a:4222,tls://b:14222}",
        "networkPolicy.natsTo[0].podSelector.matchLabels.app=nats",
    ]);
    let rule = json!({"ports": ports(&[4222, 8222]), "to": [{"namespaceSelector": {}}]});
    assert!(rules(&some, "herald-dispatcher").contains(&rule));
    let rule = json!({"ports": ports(&[4222, 14222, 8222]), "to": [{"podSelector": {"matchLabels": {"app": "nats"}}}]});
    assert!(rules(&more, "herald-dispatcher").contains(&rule));
    assert_eq!(rules(&more, "herald-controller"), rules(&plain, "herald-controller"));
    assert_eq!(rules(&plain, "herald-dispatcher"), rules(&plain, "herald-controller"));
}

/// A 202 says that the event is on the disks of a majority: either that is checked, or somebody has said that it is not.
#[test]
fn the_servers_are_asked_how_they_sync_unless_somebody_takes_the_loss() {
    let asked = |values: &[&str]| {
        let objects = with(values);
        let flags: Vec<_> = arguments(dispatcher(&objects, "Deployment"))
            .into_iter()
            .filter(|flag| flag.starts_with("--nats-monitoring") || flag.starts_with("--nats-sync"))
            .map(str::to_owned)
            .collect();
        let [flag] = &flags[..] else { panic!("{flags:?}") };
        flag.clone()
    };
    let of_servers = [
        ("tls://nats.nats.svc:4222", "http://nats-headless.nats.svc:8222"),
        ("nats://my-nats.team.svc.cluster.local", "http://my-nats-headless.team.svc.cluster.local:8222"),
        ("tls://a:4222,tls://[2001:db8::1]", "http://a:8222,http://[2001:db8::1]:8222"),
    ];
    for (servers, urls) in of_servers {
        let value = format!("journal.nats.servers={{{servers}}}");
        assert_eq!(asked(&[&value]), format!("--nats-monitoring={urls}"));
    }
    let named = "journal.nats.monitoring={https://m.example.com,http://[::1]:8000/base}";
    assert_eq!(asked(&[named]), "--nats-monitoring=https://m.example.com,http://[::1]:8000/base");
    let ports = |values: &[&str]| {
        let objects = with(values);
        let policy = dispatcher(&objects, "NetworkPolicy");
        let rules = policy["spec"]["egress"].as_array().unwrap();
        let of_nats = rules.iter().find(|rule| rule["ports"][0]["port"] == 4222).unwrap();
        of_nats["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|port| port["port"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(ports(&[named]), [4222, 443, 8000]);
    let unchecked = "journal.nats.syncUnchecked=true";
    assert_eq!(asked(&[unchecked]), "--nats-sync-unchecked");
    assert_eq!(ports(&[unchecked]), [4222]);

    let said = refusal(&[&NATS[..], &["--set", unchecked, "--set", named]].concat());
    assert!(said.contains("leave one of them out"), "{said}");
    for server in ["tls://nats.example.com:4222", "tls://nats", "tls://nats-0.nats-headless.nats.svc"] {
        let server = format!("journal.nats.servers={{{server}}}");
        let said = refusal(&[&NATS[..], &["--set", &server]].concat());
        assert!(
            said.contains("write journal.nats.monitoring, such as [http://nats-headless.nats.svc:8222]"),
            "{said}"
        );
        assert!(said.contains("may be lost when the power fails, journal.nats.syncUnchecked=true"), "{said}");
    }
    for wrong in ["nats://nats:8222", "http://user@nats:8222", "nats:8222"] {
        let wrong = format!("journal.nats.monitoring={{{wrong}}}");
        let said = refusal(&[&NATS[..], &["--set", &wrong]].concat());
        assert!(said.contains("at '/journal/nats/monitoring/0'"), "{said}");
    }
}

/// A disk of NATS is none of Herald's, and a volume has no leases.
#[test]
fn the_alerts_are_those_of_every_journal_and_of_the_engine_that_keeps_it() {
    let rules = |objects: &[Value]| {
        let rule = of_kind(objects, "PrometheusRule").remove(0);
        let groups = rule["spec"]["groups"].as_array().unwrap();
        let names = groups.iter().map(|group| group["name"].as_str().unwrap().to_owned());
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
        let asked = rules.clone().map(|rule| rule["expr"].to_string()).collect::<String>();
        (names.collect::<Vec<_>>(), rules.count(), asked)
    };
    let enabled = "monitoring.prometheusRule.enabled=true";
    let (names, count, asked) = rules(&objects(&["--set", enabled]));
    assert_eq!(names, ["herald", "herald-embedded"]);
    assert!(count > 10 && asked.contains("_disk_free_bytes") && !asked.contains("_nats_"), "{asked}");
    let (names, count, asked) = rules(&with(&[enabled]));
    assert_eq!(names, ["herald", "herald-nats"]);
    assert!(count > 10 && !asked.contains("_disk_") && !asked.contains("_reopened_"), "{asked}");
    assert!(asked.contains("_nats_open"), "{asked}");
}

#[test]
fn what_would_not_work_is_refused_with_what_to_write_instead() {
    let embedded = [
        ("dispatcher.replicas=3", "dispatcher.replicas is 3"),
        ("dispatcher.replicas=0", "dispatcher.replicas is 0"),
        ("dispatcher.autoscaling.enabled=true", "dispatcher.autoscaling is enabled"),
    ];
    for (value, expected) in embedded {
        let said = refusal(&["--set", value]);
        assert!(said.contains(expected) && said.contains("have journal.type=nats"), "{value}: {said}");
    }
    let said = refusal(&["--set", "journal.nats.servers={tls://nats.nats.svc:4222}"]);
    assert!(said.contains("write journal.type=nats"), "{said}");
    let said = refusal(&["--set", "journal.type=nats"]);
    assert!(said.contains("journal.type=nats needs journal.nats.servers, such as [tls://"), "{said}");

    let beside = [
        (
            "journal.nats.credentialsSecret.name=a,journal.nats.nkeySecret.name=b",
            "journal.nats.credentialsSecret and journal.nats.nkeySecret are both named",
        ),
        (
            "journal.nats.tls.caSecret.name=a,journal.nats.tls.caConfigMap.name=b",
            "journal.nats.tls.caConfigMap and journal.nats.tls.caSecret are both named",
        ),
        (
            "journal.nats.servers={nats://nats.nats.svc},journal.nats.tls.clientSecret.name=a",
            "write tls:// in journal.nats.servers",
        ),
        ("dispatcher.autoscaling.enabled=true,dispatcher.replicas=2", "leave one of them out"),
        (
            "dispatcher.autoscaling.enabled=true,dispatcher.autoscaling.maxReplicas=2",
            "dispatcher.autoscaling.minReplicas is 3, more than maxReplicas, 2",
        ),
    ];
    for (value, expected) in beside {
        let said = refusal(&[&NATS[..], &["--set", value]].concat());
        assert!(said.contains(expected), "{value}: {said}");
    }
}
