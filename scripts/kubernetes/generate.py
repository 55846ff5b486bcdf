"""Makes what is derived: names of settings in the chart's schema, the chart's copies of monitoring/, and k8s/.

--check changes nothing and ends with 1 when a file differs from what would be made.
"""

import json
import pathlib
import re
import sys

import jsonpatch
import yaml

import chart

root = chart.root
#: What the chart itself decides; it may not be set a second time.
owned = re.compile(
    r"HTTP_(HOST|PORT)|METRICS_(HOST|PORT)|DATABASE_(URL|URL_FILE|POOL_MIN|POOL_MAX)|QUERY_TIMEOUT_MS"
    r"|CALLER_TOKEN_SECRET_FILE|SHUTDOWN_(GRACE|DRAIN)_SECONDS|LOG_(LEVEL|FORMAT)|OTLP_ENDPOINT|TRACE_SAMPLE_RATIO"
    r"|TLS_(CERTIFICATE|KEY|CLIENT_AUTHORITY)_FILE|UPSTREAM_\w+|JWT_\w+|JWKS_(FILE|URL)|REPLICA_ADDRESS"
    r"|SNAPSHOT_DIR|RETENTION_DAYS"
)
services = {"gateway": "gateway", "graph-builder": "graphBuilder", "anomaly-propagation": "anomalyPropagation"}
header = "# Made by `make k8s` from helm/undercurrent; not to be edited.\n"


def documented_settings():
    """Names in README's configuration tables, by service."""
    text = (root / "README.md").read_text().split("## Configuration", 1)[1].split("\n## ", 1)[0]
    found, current = {}, None
    for line in text.splitlines():
        title = re.match(r"(All three services|gateway|graph-builder|anomaly-propagation):$", line)
        if title:
            current = title[1]
        name = re.match(r"\| `([A-Z0-9_]+)` \|", line)
        if name and current:
            found.setdefault(current, []).append(name[1])
    return found


def schema():
    document = json.loads((chart.chart_folder / "values.schema.json").read_text())
    settings = documented_settings()
    for name, key in services.items():
        names = sorted({*settings["All three services"], *settings[name]})
        document["definitions"][key + "Settings"] = {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                each: {"type": ["string", "number", "boolean"]} for each in names if not owned.fullmatch(each)
            },
        }
    return json.dumps(document, indent=2) + "\n"


class Dumper(yaml.SafeDumper):
    """Block style, texts of several lines as blocks, lists set in."""

    def increase_indent(self, flow=False, indentless=False):
        return super().increase_indent(flow, False)

    def ignore_aliases(self, data):
        return True


Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)
)


def dump(documents):
    return "".join(
        "---\n" + yaml.dump(each, Dumper=Dumper, sort_keys=False, width=4096) for each in documents
    )


def plain(document):
    """An object as people without Helm apply it: nothing in it speaks of Helm."""
    document = json.loads(json.dumps(document))
    metadata = [document["metadata"]]
    spec = document.get("spec", {})
    while isinstance(spec, dict):
        spec = spec.get("jobTemplate") or spec.get("template")
        if not isinstance(spec, dict):
            break
        metadata.append(spec.get("metadata", {}))
        spec = spec.get("spec", {})
    for each in metadata:
        each.get("labels", {}).pop("helm.sh/chart", None)
        if each.get("labels", {}).get("app.kubernetes.io/managed-by"):
            each["labels"]["app.kubernetes.io/managed-by"] = "kustomize"
        annotations = each.get("annotations", {})
        for name in [name for name in annotations if name.startswith("helm.sh/")]:
            del annotations[name]
        if not annotations:
            each.pop("annotations", None)
    return document


#: For kubectl apply: the migration is an ordinary Job, and there is nobody to run the test pod.
without_helm = {"migration": {"hook": False}, "tests": {"enabled": False}}


def release(*files):
    values = chart.merged(chart.values_of(*files), without_helm)
    return {chart.identity(each): plain(each) for each in chart.render(values)}


def base_files(objects):
    folders = {}
    for (kind, _, _), each in objects.items():
        folders.setdefault(re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind).lower() + ".yaml", []).append(each)
    files = {f"k8s/base/{name}": header + dump(each) for name, each in sorted(folders.items())}
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": "undercurrent",
            "labels": {
                "pod-security.kubernetes.io/" + mode: "restricted" for mode in ("enforce", "audit", "warn")
            },
        },
    }
    files["k8s/base/namespace.yaml"] = header + dump([namespace])
    names = ["namespace.yaml", *sorted(folders)]
    files["k8s/base/kustomization.yaml"] = header + dump(
        [{"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": names}]
    )
    return files


def overlay_files(name, base, objects):
    """An overlay as what it adds, removes and changes of the base."""
    folder = f"k8s/overlays/{name}"
    files, patches, resources = {}, [], ["../../base"]
    added = [each for key, each in objects.items() if key not in base]
    if added:
        files[f"{folder}/added.yaml"] = header + dump(added)
        resources.append("added.yaml")
    for key, each in base.items():
        kind, namespace, own = key
        target = {"kind": kind, "name": own}
        if key not in objects:
            removal = {"apiVersion": each["apiVersion"], "kind": kind, "metadata": {"name": own, "namespace": namespace}}
            patches.append({"patch": dump([{"$patch": "delete", **removal}]).removeprefix("---\n")})
        elif each != objects[key]:
            steps = jsonpatch.make_patch(each, objects[key]).patch
            path = f"{kind.lower()}-{own}.yaml"
            files[f"{folder}/{path}"] = header + yaml.dump(steps, Dumper=Dumper, sort_keys=False, width=4096)
            patches.append({"path": path, "target": target})
    kustomization = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": resources}
    if patches:
        kustomization["patches"] = patches
    files[f"{folder}/kustomization.yaml"] = header + dump([kustomization])
    return files


def monitoring_files():
    """What needs the kinds of the Prometheus operator, apart: everything else applies to any cluster."""
    values = chart.merged(chart.values_of("values-production.yaml"), without_helm)
    forced = {"monitoring": {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}}
    objects = [plain(each) for each in chart.render(chart.merged(values, forced)) if each["apiVersion"].startswith("monitoring.coreos.com/")]
    kustomization = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": ["operator.yaml"]}
    return {"k8s/monitoring/operator.yaml": header + dump(objects), "k8s/monitoring/kustomization.yaml": header + dump([kustomization])}


def copies():
    files = {}
    for kind, pattern in (("rules", "*.yaml"), ("dashboards", "*.json")):
        for path in sorted((root / "monitoring" / kind).glob(pattern)):
            files[f"helm/undercurrent/files/{kind}/{path.name}"] = path.read_text()
    return files


def everything():
    """All derived files; those that others are rendered from are written first."""
    yield {"helm/undercurrent/values.schema.json": schema(), **copies()}
    base = release()
    files = base_files(base)
    for name in ("staging", "production"):
        files.update(overlay_files(name, base, release(f"values-{name}.yaml")))
    files.update(monitoring_files())
    yield files


def stale(files):
    """Files in derived folders that nobody makes any more."""
    present = set()
    for folder in ("k8s", "helm/undercurrent/files"):
        present |= {str(path.relative_to(root)) for path in (root / folder).rglob("*") if path.is_file()}
    return sorted(present - files)


def main():
    check = "--check" in sys.argv[1:]
    faults, made = [], set()
    for files in everything():
        made |= set(files)
        for name, text in files.items():
            path = root / name
            if path.exists() and path.read_text() == text:
                continue
            if check:
                faults.append(f"{name} is not what `make k8s` makes")
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
                print(name)
    for name in stale(made):
        if check:
            faults.append(f"{name} is made by nothing")
        else:
            (root / name).unlink()
            print(f"{name} removed")
    for fault in faults:
        print(fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
