"""Each check against a fault that is planted in a copy of the tree: it must fail, and say what is wrong. LIVE=1 also plants those that
only running services show."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

root = pathlib.Path(__file__).resolve().parents[2]
tools = pathlib.Path(sys.executable).parent
python = sys.executable
templates = "helm/undercurrent/templates"
monitoring = [python, "Tests/Kubernetes/monitoring.py"]
production = [python, "Tests/Kubernetes/render.py", "production with the Prometheus operator"]
network = [python, "Tests/Kubernetes/network.py"]
scan = ["bash", "scripts/kubernetes/scan.sh", str(tools)]
live_metrics = [python, "Tests/Kubernetes/live_metrics.py"]

#: (what is wrong, file, text, what stands in its place, the check, what it must say). No text: the file is removed.
planted = [
    ("a manifest that was edited by hand", "k8s/base/service.yaml", "port: 443", "port: 444", [python, "scripts/kubernetes/generate.py", "--check"], "is not what"),
    ("a value without its line", "README.md", "| `LEASE_SECONDS` |", "| `LEASE_LENGTH` |", [python, "scripts/kubernetes/generate.py", "--check"], "values.schema.json"),
    ("a key given twice", "helm/undercurrent/values.yaml", "logLevel: info", "logLevel: info\nlogLevel: debug", [tools / "yamllint", "--strict", ".yamllint", "helm/undercurrent/values.yaml"], "duplication of key"),
    ("an unquoted variable", "scripts/k8s.sh", 'cd "$root"', "cd $root", ["shellcheck", "-x", "scripts/k8s.sh"], "SC2086"),
    ("packages nobody asked for in an image", "Dockerfile", " --no-install-recommends", "", [tools / "hadolint", "Dockerfile"], "DL3015"),
    ("a field of an operator's object misspelt", f"{templates}/service-monitors.yaml", "interval: {{", "intervall: {{", production, "fields nobody knows"),
    ("a field of Kubernetes misspelt", f"{templates}/autoscalers.yaml", "selectPolicy: Max", "selectPolicies: Max", production, "selectPolicies"),
    ("a setting misspelt", f"{templates}/_pods.tpl", "METRICS_HOST: 0.0.0.0", "METRICS_HOSTS: 0.0.0.0", production, "refuses its settings"),
    ("replicas beside an autoscaler", f"{templates}/deployments.yaml", "{{- if not $values.autoscaling.enabled }}", "{{- if true }}", production, "has replicas, too"),
    ("a writable root", f"{templates}/_pods.tpl", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", production, "has a writable root"),
    ("no seccomp profile", f"{templates}/_pods.tpl", "  seccompProfile:\n    type: RuntimeDefault\n", "", production, "has no seccomp profile"),
    ("no room for temporary files", f"{templates}/deployments.yaml", "mountPath: /tmp", "mountPath: /temporary", production, "has no writable /tmp"),
    ("a skip of the policy scan", f"{templates}/deployments.yaml", "      annotations:\n", "      annotations:\n        checkov.io/skip1: CKV_K8S_22=no\n", production, "kept from the policy scan"),
    ("objects of the operator in production", "helm/undercurrent/values-production.yaml", "prometheusRule: {enabled: auto}", "prometheusRule: {enabled: true}",
     [python, "Tests/Kubernetes/render.py", "production"], "no plain API server knows"),
    ("an overlay that lags behind", "helm/undercurrent/values-production.yaml", "retentionDays: 30", "retentionDays: 31",
     ["bash", "-c", f"{tools}/kubectl kustomize k8s/overlays/production >overlay.yaml && {python} Tests/Kubernetes/overlay.py production overlay.yaml"], "differs"),
    ("a container that may gain rights", f"k8s/base/deployment.yaml", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", scan, "CKV_K8S_20"),
    ("a rule of scaling that tolerates more", "Tests/Kubernetes/autoscaler.py", "tolerance = 0.1", "tolerance = 0.5", [python, "Tests/Kubernetes/autoscaler_rule.py"], "beyond a tenth"),
    ("a policy that lets more through", f"{templates}/network-policies.yaml", "- {port: {{ $component.port }}, protocol: TCP}", "- {port: {{ $component.metricsPort }}, protocol: TCP}", network, "allowed and not in the table"),
    ("no policy that denies", f"{templates}/network-policies.yaml", "  policyTypes: [Ingress, Egress]\n---", "  policyTypes: [Egress]\n---", network, "allowed and not in the table"),
    ("no runbook", "docs/runbooks/UndercurrentLayerDown.md", None, None, monitoring, "has no runbook"),
    ("a runbook without a command", "docs/runbooks/UndercurrentLayerDown.md", "```", "", monitoring, "no command to check with"),
    ("an alert on another metric", "monitoring/rules/alerts.yaml", "correlation_engine_layer_failures_total", "correlation_engine_layer_faults_total", monitoring, "UndercurrentLayerDown"),
    ("an alert that never fires", "monitoring/rules/alerts.yaml", "(graph_builder_pending_buckets) > 5000", "(graph_builder_pending_buckets) > 5e12", monitoring, "UndercurrentQueueGrowing"),
    ("an alert that always fires", "monitoring/rules/alerts.yaml", "(observation_partitions_room) < 60", "(observation_partitions_room) < 6000000", monitoring, "UndercurrentPartitionRoomLow"),
    ("a summary without its value", "monitoring/rules/alerts.yaml", "{{ $value | humanizePercentage }} of evaluation rounds fail", "evaluation rounds fail", monitoring, "has no value"),
    ("a link to no panel", "monitoring/rules/alerts.yaml", "undercurrent-gateway?viewPanel=6", "undercurrent-gateway?viewPanel=66", monitoring, "links to a panel"),
    ("a page that goes to the list of tickets", "monitoring/alertmanager.yaml", '[severity="page"]\n      receiver: pager', '[severity="page"]\n      receiver: tickets', monitoring, "pager"),
    ("a panel without unit", "monitoring/dashboards/gateway.json", '"unit": "reqps"', '"unit": ""', monitoring, "no unit"),
    ("exemplars by another name", "Shared/Telemetry/Metrics/Exemplar.swift", "{trace_id=", "{traceID=", monitoring, "write no trace_id"),
]
live = [
    ("a metric nobody exports in a panel", "monitoring/dashboards/gateway.json", "gateway_connections{", "gateway_connexions{", live_metrics, "no series gateway_connexions"),
    ("a metric nobody documented", "docs/metrics.md", "| `process_open_fds` |", "| `process_open_files` |", live_metrics, "process_open_fds is exported and not in"),
    ("exemplars where there are none", "monitoring/dashboards/graph-engine.json", '"legendFormat": "p99",', '"legendFormat": "p99",\n          "exemplar": true,', live_metrics, "no exemplar of"),
    ("a connection that no policy allows", "docs/deploy.md", "| gateway | graph-builder | 8081 | requests |\n", "", network, "which is not in the table|not in the table"),
    ("an alert that its fault does not fire", "monitoring/rules/alerts.yaml", "time()) < 14 * 86400", "time()) < 1 * 864", [python, "Tests/Kubernetes/live_alerts.py", "certificate"], "does not fire"),
]


def check(folder, name, path, old, new, command, word):
    file = folder / path
    before = file.read_text()
    try:
        if old is None:
            file.unlink()
        else:
            if old not in before:
                return f"{name}: {path} has no {old!r} to spoil"
            file.write_text(before.replace(old, new))
        done = subprocess.run([str(each) for each in command], cwd=folder, capture_output=True, text=True, env={
            **os.environ, "PYTHONPATH": f"{folder}/scripts/kubernetes:{folder}/Tests/Kubernetes"})
        output = done.stdout + done.stderr
        if done.returncode in (0, 77):
            return f"{name}: is not noticed"
        if not any(each in output for each in word.split("|")):
            return f"{name}: is refused without saying {word!r}: {output[-400:]}"
        return None
    finally:
        file.write_text(before)


def main():
    faults, chosen = [], [*planted, *(live if os.environ.get("LIVE") == "1" else [])]
    only = " ".join(sys.argv[1:])
    chosen = [each for each in chosen if only in each[0]]
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place) / "tree"
        for name in subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=root, capture_output=True, text=True, check=True).stdout.splitlines():
            if (root / name).is_file() and not name.startswith(("Samples/", "Services/")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, folder / name)
        # Recordings are many and nobody spoils them.
        (folder / "Samples").symlink_to(root / "Samples")
        for each in chosen:
            found = check(folder, *each)
            print(f"{'missed ' if found else 'noticed'}  {each[0]}", flush=True)
            if found:
                faults.append(found)
    for fault in faults:
        print(fault)
    print(f"{len(chosen)} faults planted, {len(chosen) - len(faults)} noticed")
    sys.exit(1 if faults or not chosen else 0)


if __name__ == "__main__":
    main()
