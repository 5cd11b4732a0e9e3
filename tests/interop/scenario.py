"""All twelve events, in every way the CloudEvents SDKs can send them, through
Herald to the endpoints of docs/endpoint-guide.md.

    SDK (Python, Node.js) ── binary, structured, batch ──> herald run
    herald run ── Standard, CloudEvents ──> endpoint.py, endpoint.mjs

Each endpoint checks API key and signature by the official library and prints
what it took; here it is counted that each took every event. Every endpoint must
also refuse what is wrongly signed, else its "yes" would say nothing.
"""

import base64
import json
import os
import re
import secrets
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import trustme
from cloudevents.core.bindings.http import HTTPMessage, to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from guide import program
from standardwebhooks import Webhook

ROOT = Path(__file__).parents[2]
CACHE, HERALD = Path(sys.argv[1]), Path(sys.argv[2])
NAMESPACE = "identity"
AUDIENCE = "herald.interop"
DEADLINE = 30
API_KEY = secrets.token_urlsafe()
SIGNING_SECRET = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
TYPES = [
    "user.created",
    "user.updated",
    "user.deleted",
    "user.added_to_app",
    "user.removed_from_app",
    "user.logged_in",
    "user.logged_out",
    "user.suspended",
    "user.unsuspended",
    "user.password_lock",
    "user.orchestrated_login",
    "user.failed_otp_attempt",
]
DIRECT = urllib.request.ProxyHandler({})


def say(text: str) -> None:
    print(f"interop: {text}", flush=True)


def kubectl(*arguments: str, stdin: object = None) -> str:
    text = json.dumps(stdin) if stdin is not None else None
    return subprocess.run(["kubectl", *arguments], input=text, text=True, check=True, stdout=subprocess.PIPE).stdout


class Process:
    """A process whose output goes to a file; its end is this program's to see to."""

    def __init__(self, name: str, directory: Path, command: list[str | Path], environment: dict[str, str]):
        self.name, self.log = name, directory / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=DEADLINE)


def wait_until(what: str, done, *processes: Process) -> None:
    """Asks again and again: what is waited for is told by another process."""
    deadline = time.monotonic() + DEADLINE
    while not done():
        ended = [p.name for p in processes if p.process.poll() is not None]
        if ended or time.monotonic() > deadline:
            for process in processes:
                print(f"--- {process.name}", *process.lines()[-20:], sep="\n", file=sys.stderr)
            raise SystemExit(f"interop: {what}: " + (f"{ended} ended" if ended else f"not so after {DEADLINE} s"))
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@dataclass
class Endpoint:
    language: str
    payload: str
    port: int
    process: Process

    @property
    def name(self) -> str:
        return f"{self.language}-{self.payload}".lower()

    @property
    def uri(self) -> str:
        return f"https://127.0.0.1:{self.port}/users"

    def taken(self) -> set[tuple[str, str]]:
        """What the program printed. Its threads may print into one line, but
        each prints a type and a subject, which ends in that type, in one go."""
        return set(re.findall(r"(user\.[a-z_]+) ([a-z]+-[a-z]+-\1)", self.process.log.read_text()))


def start_endpoint(language: str, payload: str, directory: Path, authority: trustme.CA) -> Endpoint:
    home = directory / f"{language}-{payload}"
    home.mkdir()
    certificate, key = home / "cert.pem", home / "key.pem"
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(key)
    for part in issued.cert_chain_pems:
        part.write_to_path(certificate, append=True)
    port = free_port()
    environment = {"API_KEY": API_KEY, "SIGNING_SECRET": SIGNING_SECRET}
    if language == "python":
        (home / "endpoint.py").write_text(program(language, payload))
        flask = [sys.executable, "-m", "flask", "--app", home / "endpoint.py", "run", "--port", str(port)]
        command = [*flask, "--cert", certificate, "--key", key]
    else:
        (home / "endpoint.mjs").write_text(program(language, payload))
        (home / "node_modules").symlink_to(CACHE / "node_modules")
        command = ["node", home / "endpoint.mjs"]
        environment |= {"PORT": str(port), "TLS_CERT": str(certificate), "TLS_KEY": str(key)}
    return Endpoint(language, payload, port, Process(f"{language}-{payload}", directory, command, environment))


def post(url: str, headers: dict[str, str], body: bytes, context: ssl.SSLContext | None = None) -> int:
    opener = urllib.request.build_opener(DIRECT, *([urllib.request.HTTPSHandler(context=context)] if context else []))
    request = urllib.request.Request(url, body, {"content-type": "application/json", **headers})
    try:
        with opener.open(request, timeout=DEADLINE) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def answers(url: str, context: ssl.SSLContext | None = None) -> bool:
    opener = urllib.request.build_opener(DIRECT, *([urllib.request.HTTPSHandler(context=context)] if context else []))
    try:
        request = urllib.request.Request(url, headers={"x-verification-key": "interop"})
        with opener.open(request, timeout=DEADLINE):
            return True
    except (urllib.error.URLError, ConnectionError):
        return False


def refuses_forgeries(endpoint: Endpoint, context: ssl.SSLContext) -> None:
    body = json.dumps({"type": TYPES[0], "subject": "forged"})
    now = datetime.now(timezone.utc)
    forger = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    for api_key, secret in [(API_KEY, forger), ("another", SIGNING_SECRET)]:
        headers = {
            "x-api-key": api_key,
            "webhook-id": "msg_forged",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign("msg_forged", now, body),
        }
        status = post(endpoint.uri, headers, body.encode(), context)
        assert status == 401, f"{endpoint.name} answered {status} to a forgery"


def install(endpoints: list[Endpoint]) -> None:
    kubectl("apply", "-f", str(ROOT / "crds"))
    kubectl("wait", "--for=condition=Established", "crd/webhooks.herald.dev", f"--timeout={DEADLINE}s")
    kubectl("create", "namespace", NAMESPACE)
    kubectl("-n", NAMESPACE, "apply", "-f", str(ROOT / "examples/producer.yaml"))
    labels = {"herald.dev/allow-webhooks": "true"}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "keys", "labels": labels},
        "stringData": {"api-key": API_KEY, "signing-secret": SIGNING_SECRET},
    }
    kubectl("-n", NAMESPACE, "apply", "-f", "-", stdin=secret)
    for endpoint in endpoints:
        webhook = {
            "apiVersion": "herald.dev/v1alpha1",
            "kind": "Webhook",
            "metadata": {"name": endpoint.name},
            "spec": {
                "name": endpoint.name,
                "uri": endpoint.uri,
                "apiKeySecretRef": {"name": "keys", "key": "api-key"},
                "signingSecretRef": {"name": "keys", "key": "signing-secret"},
                "events": ["*"],
                "payload": endpoint.payload,
            },
        }
        kubectl("-n", NAMESPACE, "apply", "-f", "-", stdin=webhook)


def attributes(event_type: str, way: str) -> dict[str, str]:
    """Every event has a user of its own, named after how it was sent."""
    return {"id": secrets.token_hex(8), "source": "/interop", "type": event_type, "subject": f"{way}-{event_type}"}


def send_from_python(url: str, token: str) -> set[tuple[str, str]]:
    def send(message: HTTPMessage) -> None:
        status = post(url, {**message.headers, "authorization": f"Bearer {token}"}, message.body)
        assert status == 202, f"Herald answered {status} to {message}"

    def event(event_type: str, way: str) -> CloudEvent:
        sent.add((event_type, f"{way}-{event_type}"))
        return CloudEvent({**attributes(event_type, way), "datacontenttype": "application/json"}, {"way": way, "é": [1]})

    sent: set[tuple[str, str]] = set()
    for event_type in TYPES:
        send(to_binary_event(event(event_type, "python-binary")))
        send(to_structured_event(event(event_type, "python-structured")))
    # The SDK has no batch; the format of a batch is the list of what it writes.
    batch = b",".join(JSONFormat().write(event(event_type, "python-batch")) for event_type in TYPES)
    send(HTTPMessage({"content-type": "application/cloudevents-batch+json"}, b"[" + batch + b"]"))
    return sent


def send_from_node(directory: Path, url: str, token: str) -> set[tuple[str, str]]:
    script = directory / "send.mjs"
    script.write_text((ROOT / "tests/interop/send.mjs").read_text())
    (directory / "node_modules").symlink_to(CACHE / "node_modules")
    sent: set[tuple[str, str]] = set()
    for mode in ["binary", "structured"]:
        way = f"node-{mode}"
        events = [{**attributes(event_type, way), "data": {"way": way}} for event_type in TYPES]
        lines = "\n".join(json.dumps(event) for event in events)
        subprocess.run(["node", script, url, token, mode], input=lines, text=True, check=True)
        sent |= {(event["type"], event["subject"]) for event in events}
    return sent


def start_herald(directory: Path, roots: Path) -> tuple[Process, str, str]:
    ingest, metrics = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    flags = ["--insecure-http", "--listen", ingest, "--metrics-listen", metrics, "--audience", AUDIENCE]
    flags += ["--journal-dir", directory / "journal", "--namespace", NAMESPACE]
    flags += ["--outbound-allow", "127.0.0.0/8", "--outbound-extra-roots", roots]
    herald = Process("herald", directory, [HERALD, "run", *flags], {})
    return herald, f"http://{ingest}/v1/namespaces/{NAMESPACE}/events", f"http://{metrics}/readyz"


def main(directory: Path, started: list[Process]) -> None:
    authority = trustme.CA()
    roots = directory / "roots.pem"
    authority.cert_pem.write_to_path(roots)
    context = ssl.create_default_context(cafile=str(roots))
    endpoints = []
    for language in ["python", "js"]:
        for payload in ["Standard", "CloudEvents"]:
            endpoints.append(start_endpoint(language, payload, directory, authority))
            started.append(endpoints[-1].process)
    for endpoint in endpoints:
        wait_until(f"{endpoint.name} listens", lambda: answers(endpoint.uri, context), endpoint.process)
        refuses_forgeries(endpoint, context)
    say(f"{len(endpoints)} endpoints of docs/endpoint-guide.md run and refuse forgeries")

    install(endpoints)
    herald, url, ready = start_herald(directory, roots)
    started.append(herald)
    wait_until("herald is ready", lambda: answers(ready), herald)
    for condition in ["Ready", "Delivering"]:
        kubectl("-n", NAMESPACE, "wait", "webhooks", "--all", f"--for=condition={condition}", f"--timeout={DEADLINE}s")
    say("every endpoint has proved itself")

    token = kubectl("-n", NAMESPACE, "create", "token", "producer", f"--audience={AUDIENCE}").strip()
    sent = send_from_python(url, token) | send_from_node(directory, url, token)
    say(f"sent {len(sent)} events by the CloudEvents SDKs")
    for endpoint in endpoints:
        try:
            wait_until(f"{endpoint.name} takes all", lambda: endpoint.taken() >= sent, herald, endpoint.process)
        except SystemExit:
            say(f"{endpoint.name} has not taken {sorted(sent - endpoint.taken())}")
            raise
        say(f"{endpoint.name}: took all {len(sent)}, each verified and parsed by the official libraries")


with tempfile.TemporaryDirectory() as scratch:
    processes: list[Process] = []
    try:
        main(Path(scratch), processes)
    except (AssertionError, subprocess.CalledProcessError):
        print(kubectl("get", "webhooks", "-A", "-o", "yaml"), file=sys.stderr)
        for process in processes:
            print(f"--- {process.name}", *process.lines()[-20:], sep="\n", file=sys.stderr)
        raise
    finally:
        for process in reversed(processes):
            process.stop()
say("ok")
