"""Renders the chart with every value set, or with those named, validates each object and checks what no schema knows."""

import importlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import helm_python
import yaml

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts" / "kubernetes"))
import chart  # noqa: E402
import value_sets  # noqa: E402

faults = []
versions = ["1.27", "1.32", "1.37"]
bin_folder = pathlib.Path(os.environ["BINARIES"]) if os.environ.get("BINARIES") else None
programs = {
    "undercurrent/gateway": "gateway",
    "undercurrent/graph-builder": "graph-builder",
    "undercurrent/anomaly-propagation": "anomaly-propagation",
}


def expect(holds, where, text):
    if not holds:
        faults.append(f"{where}: {text}")


def pods(document):
    """Pod templates inside an object: (metadata, spec)."""
    if document["kind"] == "Pod":
        return [(document["metadata"], document["spec"])]
    spec = document.get("spec", {})
    if document["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    template = spec.get("template") if isinstance(spec, dict) else None
    return [(template["metadata"], template["spec"])] if template else []


def selects(selector, labels):
    """Whether a label selector takes these labels in."""
    if not all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In", "only In is used by our policies"
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return True


def check_pod(where, metadata, spec, claims=()):
    """Pod Security `restricted`, and our own rules."""
    expect(spec.get("automountServiceAccountToken") is False, where, "mounts a token")
    expect(spec.get("enableServiceLinks") is False or "test" in where, where, "has service links")
    security = spec.get("securityContext", {})
    expect(security.get("runAsNonRoot") is True and security.get("runAsUser", 0) >= 10000, where, "may run as root")
    expect(security.get("seccompProfile", {}).get("type") == "RuntimeDefault", where, "has no seccomp profile")
    for kind in ("hostNetwork", "hostPID", "hostIPC"):
        expect(not spec.get(kind), where, f"uses {kind}")
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    for volume in volumes.values():
        kinds = set(volume) - {"name"}
        allowed = {"configMap", "secret", "emptyDir", "persistentVolumeClaim", "projected", "downwardAPI", "csi", "ephemeral"}
        expect(kinds <= allowed, where, f"volume {volume['name']} is of a kind that `restricted` forbids")
        if "emptyDir" in volume:
            expect("sizeLimit" in volume["emptyDir"], where, f"volume {volume['name']} has no bound")
    for container in spec["containers"] + spec.get("initContainers", []):
        own = container.get("securityContext", {})
        expect(own.get("allowPrivilegeEscalation") is False, where, "allows privilege escalation")
        expect(own.get("readOnlyRootFilesystem") is True, where, "has a writable root")
        expect(own.get("capabilities", {}).get("drop") == ["ALL"] and not own["capabilities"].get("add"), where, "keeps capabilities")
        expect(not own.get("privileged"), where, "is privileged")
        limits, requests = container["resources"]["limits"], container["resources"]["requests"]
        expect("memory" in limits and {"cpu", "memory"} <= set(requests), where, "is not bounded")
        expect(not container["image"].endswith(":latest") and (":" in container["image"]), where, "has a floating image")
        for each in container.get("env", []):
            secret = any(word in each["name"] for word in ("PASSWORD", "SECRET", "KEY", "URL"))
            harmless = each["name"].endswith("_FILE") or each.get("value") == "host=none dbname=none"
            expect(not secret or harmless, where, f"{each['name']} is in the environment")
        mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
        paths = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", [])}
        expect("emptyDir" in volumes.get(paths.get("/tmp"), {}) or container.get("args") == ["healthcheck"], where, "has no writable /tmp")
        known = {*volumes, *claims}
        expect(mounted <= known, where, f"mounts volumes that are not there: {mounted - known}")
        ports = {port["name"] for port in container.get("ports", [])}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            target = container.get(probe, {}).get("httpGet", {}).get("port")
            expect(target is None or target in ports, where, f"{probe} asks a port that is not there")


def check_settings(name, values, objects):
    """The service itself reads its settings file as it would stand in the pod."""
    for document in objects:
        if document["kind"] != "Deployment":
            continue
        spec = document["spec"]["template"]["spec"]
        container = spec["containers"][0]
        program = bin_folder / container["name"]
        config = next(
            each for each in objects
            if each["kind"] == "ConfigMap" and each["metadata"]["name"] == spec["volumes"][0]["configMap"]["name"]
        )
        with tempfile.TemporaryDirectory() as folder:
            text = config["data"]["settings.yaml"].replace("/etc/undercurrent", folder)
            for mount in container["volumeMounts"]:
                if mount["mountPath"].startswith("/etc/"):
                    os.makedirs(mount["mountPath"].replace("/etc/undercurrent", folder))
            settings = yaml.safe_load(text)
            for key, value in settings.items():
                if key.endswith("_FILE"):
                    expect(pathlib.Path(value).parent.is_dir(), name, f"{key} stands in a folder that is not mounted")
                    content = "host=db.example.com dbname=undercurrent sslmode=verify-full" if "URL" in key else "0" * 40
                    pathlib.Path(value).write_text(content + "\n")
            path = pathlib.Path(folder) / "settings" / "settings.yaml"
            path.write_text(text)
            environment = {"PATH": os.environ["PATH"]}
            for each in container["env"]:
                source = each.get("value", "10.0.0.7").replace("$(POD_IP)", "10.0.0.7")
                environment[each["name"]] = source.replace("/etc/undercurrent", folder)
            run = subprocess.run([program, "check-config"], env=environment, capture_output=True, text=True)
            expect(run.returncode == 0, name, f"{container['name']} refuses its settings: {run.stderr.strip()}")
            shown = subprocess.run([program, "print-config"], env=environment, capture_output=True, text=True).stdout
            expect("HTTP_HOST=0.0.0.0" in shown, name, f"{container['name']} does not listen to the pod's address")


def check_references(name, objects):
    by_kind = {}
    for document in objects:
        by_kind.setdefault(document["kind"], []).append(document)
    names = [chart.identity(document) for document in objects]
    expect(len(names) == len(set(names)), name, "has two objects of one name")
    templates = [(document, metadata) for document in objects for metadata, _ in pods(document)]
    for document in objects:
        kind, own = document["kind"], document["metadata"]["name"]
        where = f"{name}: {kind}/{own}"
        spec = document.get("spec", {})
        expect(document["metadata"].get("namespace") == "undercurrent", where, "has no namespace")
        for metadata in [document["metadata"], *(each for each, _ in pods(document))]:
            skips = [key for key in metadata.get("annotations", {}) if "checkov" in key]
            expect(not skips, where, f"is kept from the policy scan by {skips}; skips stand in scripts/kubernetes/scan.sh, with a reason")
        if kind in ("Deployment", "StatefulSet"):
            found = [each["metadata"]["name"] for each, metadata in templates if selects(spec["selector"], metadata["labels"])]
            expect(found == [own], where, f"its selector takes in {found}")
        if kind == "Service" or kind == "PodDisruptionBudget":
            selector = {"matchLabels": spec["selector"]} if kind == "Service" else spec["selector"]
            found = [each for each, metadata in templates if selects(selector, metadata["labels"])]
            expect(len(found) == 1, where, f"selects {len(found)} kinds of pods")
            if kind == "Service" and found:
                ports = {port["name"] for c in pods(found[0])[0][1]["containers"] for port in c.get("ports", [])}
                expect({port["targetPort"] for port in spec["ports"]} <= ports, where, "targets a port that is not there")
        if kind == "HorizontalPodAutoscaler":
            target = [d for d in by_kind["Deployment"] if d["metadata"]["name"] == spec["scaleTargetRef"]["name"]]
            expect(len(target) == 1, where, "scales nothing")
            expect("replicas" not in target[0]["spec"], where, "its target has replicas, too")
            behavior = spec["behavior"]
            expect(behavior["scaleUp"]["stabilizationWindowSeconds"] == 0, where, "scales up late")
            expect(behavior["scaleDown"]["stabilizationWindowSeconds"] == 300, where, "scales down at once")
        for metadata, pod in pods(document):
            check_pod(where, metadata, pod, [each["metadata"]["name"] for each in spec.get("volumeClaimTemplates", [])])
            accounts = {each["metadata"]["name"] for each in by_kind["ServiceAccount"]}
            expect(pod.get("serviceAccountName") in accounts or kind == "Pod", where, "runs under an account that is not there")
            for volume in pod.get("volumes", []):
                if "configMap" in volume:
                    maps = {each["metadata"]["name"] for each in by_kind["ConfigMap"]}
                    expect(volume["configMap"]["name"] in maps, where, "mounts a ConfigMap that is not there")
            grace = pod.get("terminationGracePeriodSeconds")
            if kind == "Deployment":
                expect(grace == 55, where, f"has a grace of {grace} s")
    expect("Secret" not in by_kind, name, "has a Secret of its own")


def unknown(given, understood, where):
    """A model of an operator's object passes over what it does not know; we do not."""
    if isinstance(given, dict) and isinstance(understood, dict):
        lost = sorted(set(given) - set(understood))
        expect(not lost, where, f"has fields nobody knows: {lost}")
        for key in set(given) & set(understood):
            unknown(given[key], understood[key], f"{where}.{key}")
    elif isinstance(given, list) and isinstance(understood, list):
        for index, (one, other) in enumerate(zip(given, understood)):
            unknown(one, other, f"{where}[{index}]")


def check_custom(where, document):
    models = importlib.import_module("cloudcoil.models.prometheus_operator.v1")
    model = getattr(models, document["kind"], None)
    if model is None:
        faults.append(f"{where}: no schema for {document['kind']}")
        return
    try:
        unknown(document, model.model_validate(document).model_dump(by_alias=True, exclude_unset=True, mode="json"), where)
    except Exception as error:  # pydantic's own, with the path of the value
        faults.append(f"{where}: {error}")


def validate(name, objects, version):
    custom = [each for each in objects if each["apiVersion"].startswith("monitoring.coreos.com/")]
    for each in custom:
        check_custom(f"{name}: {each['kind']}/{each['metadata']['name']}", each)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump_all([each for each in objects if each not in custom], file)
        file.flush()
        command = [str(pathlib.Path(sys.executable).parent / "kubernetes-validate"), "-k", version, "--strict", file.name]
        run = subprocess.run(command, capture_output=True, text=True)
        output = run.stdout + run.stderr
        # A kind it does not know is a warning with exit 0 there; here it is a fault.
        expect(run.returncode == 0 and "WARN" not in output and "ERROR" not in output, name, f"{version}: {output}")
        expect(output.count("passed") == len(objects) - len(custom), name, f"{version}: not every object was validated")


def check_accepted(name, values):
    lint = helm_python.lint(str(chart.chart_folder), values, strict=True, namespace="undercurrent")
    expect(not lint.get("errors") and lint.get("success", True), name, f"lint: {lint}")
    objects = chart.render(values)
    expect(len(objects) >= 20, name, f"renders only {len(objects)} objects")
    for version in versions if name in ("defaults", "production", "staging") else versions[-1:]:
        validate(name, objects, version)
    check_references(name, objects)
    if bin_folder:
        check_settings(name, values, objects)
    again = chart.render(values)
    expect(again == objects, name, "renders differently a second time")
    return objects


def check_operator(name, values):
    """Without the Prometheus operator everything must still apply; where its kinds are known, its objects are made."""
    rendered = chart.render(values)
    foreign = {each["apiVersion"] for each in rendered if "." in each["apiVersion"].split("/")[0] and ".k8s.io/" not in each["apiVersion"]}
    expect(not foreign, name, f"has objects no plain API server knows: {foreign}")
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "undercurrent"
        shutil.copytree(chart.chart_folder, copy)
        names = copy / "templates" / "_names.tpl"
        # A kind that is always known stands in for one that is sometimes.
        names.write_text(names.read_text().replace('Has "monitoring.coreos.com/v1"', 'Has "apps/v1"'))
        with helm_python.Chart.load(str(copy)) as loaded:
            files = loaded.render(values, name="undercurrent", namespace="undercurrent")
        kinds = {document["kind"] for path, text in files.items() if path.endswith(".yaml") for document in chart.documents(text)}
    expect({"ServiceMonitor", "PrometheusRule"} <= kinds, name, "makes no objects of the operator where it is there")


def check_refused(name, values, word):
    try:
        chart.render(values)
    except helm_python.HelmError as error:
        expect(word in str(error), name, f"is refused without saying {word!r}: {error}")
    else:
        faults.append(f"{name}: is accepted")


def main():
    count = 0
    chosen = sys.argv[1:] or list(value_sets.accepted)
    for name, values in ((name, value_sets.accepted[name]) for name in chosen):
        count += len(check_accepted(name, values))
    for name in {"staging", "production"} & set(chosen):
        check_operator(name, value_sets.accepted[name])
    for name, (values, word) in {} if sys.argv[1:] else value_sets.refused.items():
        check_refused(name, values, word)
    if bin_folder is None:
        print("settings were not read by the services: BINARIES names no folder")
        faults.append("the services' own check of their settings did not run")
    for fault in faults:
        print(fault)
    print(f"{len(chosen)} value sets with {count} objects rendered, {len(value_sets.refused)} refused, {len(faults)} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
