//! A new certificate while requests come in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::Client;
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;

use super::parts::{DEADLINE, Server, event, trusting, write_certificate};

fn client(server: &Server, certificates: Vec<CertificateDer<'static>>, idle: usize) -> Client {
    Client::builder()
        .tls_backend_preconfigured(trusting(certificates))
        .resolve("localhost", server.address)
        .pool_max_idle_per_host(idle)
        .timeout(DEADLINE)
        .build()
        .unwrap()
}

async fn send(client: &Client, url: &str) -> reqwest::Result<u16> {
    let request = client
        .post(url)
        .bearer_auth("good")
        .header("content-type", "application/cloudevents+json")
        .body(event("1").to_string());
    Ok(request.send().await?.status().as_u16())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_is_used_at_once_and_fails_no_request() {
    let server = Server::start().await;
    let old = server.certificate.clone();
    let next = tempfile::tempdir().unwrap();
    let new = write_certificate(next.path());

    // Half of the load keeps its connections, half makes a new one each time.
    let stop = Arc::new(AtomicBool::new(false));
    let url = server.url("identity");
    let load: Vec<_> = [8, 8, 0, 0]
        .into_iter()
        .map(|idle| {
            let client = client(&server, vec![old.clone(), new.clone()], idle);
            let (stop, url) = (Arc::clone(&stop), url.clone());
            tokio::spawn(async move {
                let mut sent = 0_u32;
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(send(&client, &url).await.unwrap(), 202);
                    sent += 1;
                }
                sent
            })
        })
        .collect();

    // Someone who trusts the old one alone is served until the new one is there, and
    // someone who trusts the new one alone from then on. Between the two renames the
    // pair does not fit, and the old one goes on.
    assert_eq!(send(&client(&server, vec![old.clone()], 0), &url).await.unwrap(), 202);
    for file in ["tls.crt", "tls.key"] {
        std::fs::rename(next.path().join(file), server.directory.path().join(file)).unwrap();
    }
    let renewed = client(&server, vec![new], 0);
    timeout(DEADLINE, async { while send(&renewed, &url).await.is_err() {} })
        .await
        .expect("the new certificate is used");
    assert!(send(&client(&server, vec![old], 0), &url).await.is_err(), "the old one is gone");

    stop.store(true, Ordering::Relaxed);
    for task in load {
        assert!(task.await.unwrap() > 0);
    }
    server.stop().await;
}
