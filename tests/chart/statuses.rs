//! The policy of statuses: by default, and with the accounts that the pods have.

use serde_json::Value;

use super::render::{objects, variants};

fn policies(objects: &[Value]) -> Vec<&Value> {
    let named =
        |object: &&Value| object["metadata"]["name"].as_str().is_some_and(|name| name.ends_with("-status"));
    objects.iter().filter(|object| object["kind"] == "ValidatingAdmissionPolicy").filter(named).collect()
}

#[test]
fn every_account_of_a_pod_that_writes_statuses_is_named_and_nobody_else() {
    for (variant, path) in variants() {
        let objects = objects(&["--values", &path]);
        let [policy] = policies(&objects)[..] else { panic!("{variant}") };
        assert_eq!(policy["spec"]["failurePolicy"], "Fail");
        let mut accounts = Vec::new();
        for component in ["controller", "dispatcher"] {
            let is_workload = |object: &&Value| {
                object["spec"]["template"].is_object()
                    && object["metadata"]["labels"]["app.kubernetes.io/component"] == component
            };
            let workload = objects.iter().find(is_workload).unwrap();
            accounts.push(workload["spec"]["template"]["spec"]["serviceAccountName"].as_str().unwrap());
        }
        let variables = policy["spec"]["variables"].as_array().unwrap();
        let named: Vec<_> =
            variables.iter().map(|variable| variable["expression"].as_str().unwrap()).collect();
        let expected = accounts.iter().map(|account| {
            format!("request.userInfo.username == 'system:serviceaccount:herald-system:{account}'")
        });
        assert_eq!(named, expected.collect::<Vec<_>>(), "{variant}");
    }
}

#[test]
fn it_can_be_left_out() {
    assert_eq!(policies(&objects(&[])).len(), 1);
    assert!(policies(&objects(&["--set", "statusPolicy.enabled=false"])).is_empty());
}
