"""The rendered NetworkPolicies, worked out pair by pair, equal the table in docs/deploy.md; and every connection that the running
system opens is in it."""

import pathlib
import re
import socket
import sys
import threading
import time

import chart
from system import System, root, services

faults = []
namespace = "undercurrent"
own = ("gateway", "graph-builder", "anomaly-propagation", "migrate", "snapshots", "test")
outside = {
    "DNS": ("kube-system", {"k8s-app": "kube-dns"}),
    "Prometheus": ("monitoring", {"app.kubernetes.io/name": "prometheus"}),
    "PostgreSQL": ("databases", {}),
    "collector": ("observability", {}),
    "identity provider": ("identity", {}),
    "clients": ("elsewhere", {}),
    "stranger": (namespace, {"app": "stranger"}),
}
ports = (22, 53, 80, 443, 4318, 5432, 8081, 8082, 8443, 9081, 9082, 9443)
#: Where what is outside listens.
listens = {"DNS": (53,), "PostgreSQL": (5432,), "collector": (4318,), "identity provider": (443,), "clients": ports, "stranger": ports, "Prometheus": ports}
values = chart.merged(chart.values_of("values-production.yaml"), {
    "tracing": {"endpoint": "http://collector:4318"},
    "snapshots": {"enabled": True},
    "gateway": {"jwt": {"issuer": "i", "audience": "a", "jwksUrl": "https://id"}},
    "networkPolicy": {
        "postgresql": {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "databases"}}}]},
        "otlp": {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "observability"}}}]},
        "jwks": {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "identity"}}}]},
    },
})


def labels_of(objects):
    found = {}
    for document in objects:
        spec = document.get("spec", {})
        if document["kind"] == "Pod":
            found[document["metadata"]["labels"]["app.kubernetes.io/component"]] = document["metadata"]["labels"]
        if document["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if isinstance(spec, dict) and "metadata" in spec.get("template", {}):
            labels = spec["template"]["metadata"]["labels"]
            found[labels["app.kubernetes.io/component"]] = labels
    return found


def selects(selector, labels):
    fits = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    for rule in selector.get("matchExpressions", []):
        if rule["operator"] != "In":
            raise ValueError(rule)
        fits = fits and labels.get(rule["key"]) in rule["values"]
    return fits


def is_peer(peer, home, labels):
    if "ipBlock" in peer:
        raise ValueError("addresses cannot be worked out here")
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": home}):
            return False
    elif home != namespace:
        return False
    return selects(peer.get("podSelector", {}), labels)


def lets(policies, direction, subject, other, port):
    """Whether the policies of one end let the other end through. A pod that no policy of the direction selects is open."""
    home, labels = subject
    if home != namespace:
        return True
    mine = [each["spec"] for each in policies if direction.capitalize() in each["spec"]["policyTypes"] and selects(each["spec"]["podSelector"], labels)]
    if not mine:
        return True
    peers = "from" if direction == "ingress" else "to"
    for spec in mine:
        for rule in spec.get(direction, []):
            fits_port = not rule.get("ports") or port in [each["port"] for each in rule["ports"]]
            if fits_port and (not rule.get(peers) or any(is_peer(peer, *other) for peer in rule[peers])):
                return True
    return False


def allowed(objects):
    policies = [each for each in objects if each["kind"] == "NetworkPolicy"]
    labels = labels_of(objects)
    missing = set(own) - set(labels)
    if missing:
        faults.append(f"no pods of {missing}")
    ends = {**{name: (namespace, labels[name]) for name in own}, **outside}
    found = set()
    for source, source_end in ends.items():
        for target, target_end in ends.items():
            for port in ports if target in own else listens[target]:
                if (source in own or target in own) and lets(policies, "egress", source_end, target_end, port) and lets(policies, "ingress", target_end, source_end, port):
                    found.add((source, target, port))
    return found


def table():
    text = (root / "docs" / "deploy.md").read_text().split("<!-- connections -->")[1]
    found = set()
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) >= 3 and re.fullmatch(r"[0-9, ]+", cells[2]):
            for source in outside if cells[0] == "everyone" else cells[0].split(","):
                for port in cells[2].split(","):
                    found.add((source.strip(), cells[1], int(port)))
    return found


def open_connections(system, extra):
    """(from, to, port as in Kubernetes) of every connection that a service has opened."""
    listening = {system.postgres_port: ("PostgreSQL", 5432), **extra}
    standard = {"gateway": (8443, 9443), "graph-builder": (8081, 9081), "anomaly-propagation": (8082, 9082)}
    for replica in system.replicas:
        listening[replica.port] = (replica.service, standard[replica.service][0])
        listening[replica.metrics_port] = (replica.service, standard[replica.service][1])
    found = set()
    for replica in system.replicas:
        inodes = set()
        for link in pathlib.Path(f"/proc/{replica.process.pid}/fd").iterdir():
            try:
                match = re.match(r"socket:\[(\d+)\]", str(link.readlink()))
            except OSError:
                continue
            if match:
                inodes.add(match[1])
        for kind in ("tcp", "tcp6", "udp", "udp6"):
            for line in pathlib.Path(f"/proc/{replica.process.pid}/net/{kind}").read_text().splitlines()[1:]:
                cells = line.split()
                local, remote = (int(cell.split(":")[1], 16) for cell in cells[1:3])
                if cells[9] in inodes and remote != 0 and local not in (replica.port, replica.metrics_port):
                    found.add((replica.service, *listening.get(remote, (f"port {remote}", remote))))
    return found


def collector():
    """Takes spans and answers nothing useful."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            connection, _ = server.accept()
            threading.Thread(target=lambda: connection.recv(1 << 20) and time.sleep(1), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return server.getsockname()[1]


def finish(summary):
    for fault in faults:
        print(fault)
    print(summary)
    sys.exit(1 if faults else 0)


def main():
    found, documented = allowed(chart.render(values)), table()
    for each in sorted(found - documented):
        faults.append(f"allowed and not in the table: {each}")
    for each in sorted(documented - found):
        faults.append(f"in the table and not allowed: {each}")
    if faults:
        finish(f"{len(faults)} faults in the policies; the system was not started")
    opened = set()
    port = collector()
    settings = {service: {"OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "TRACE_SAMPLE_RATIO": 1} for service in services}
    with System(settings=settings) as system:
        system.start_all()
        system.start("graph-builder")
        deadline = time.monotonic() + 15
        turn = 0
        while time.monotonic() < deadline:
            turn += 1
            system.request("POST", "/v1/observations", [{"domain": "d", "event": f"e{turn % 20}", "market": "m", "venue": "v", "time": 1_700_000_000_000 + turn, "value": 1}])
            for path in ("/v1/events", "/v1/anomalies?limit=1", f"/v1/correlation-graph?eventId=e{turn % 20}", "/health"):
                system.request("GET", path)
            opened |= open_connections(system, {port: ("collector", 4318)})
    needed = {("gateway", "graph-builder", 8081), ("gateway", "anomaly-propagation", 8082), *((service, "PostgreSQL", 5432) for service in services),
              *((service, "collector", 4318) for service in services)}
    for each in sorted(needed - opened):
        faults.append(f"the running system was not seen to open {each}")
    for each in sorted(opened - documented):
        faults.append(f"the running system opens {each}, which is not in the table")
    finish(f"{len(documented)} connections allowed of {len(own) + len(outside)} kinds of ends, {len(opened)} seen open, {len(faults)} faults")


if __name__ == "__main__":
    main()
