"""Every metric that rules, panels, runbooks, autoscalers and the adapter name is exported by the running services, every query of them
gives a result, and docs/metrics.md knows every exported metric. A real Prometheus scrapes the services under load, and has
exemplars for every panel that shows them, whose traces the services' logs know."""

import json
import re
import sys
import threading
import time

import chart
import yaml
from system import System, root, services

faults = []
#: Series that only a fault makes, and the test that makes each.
by_fault = {}
#: A collector that is away: what is counted about spans is then exported, too.
collector = {"OTLP_ENDPOINT": "http://127.0.0.1:9", "TRACE_SAMPLE_RATIO": 1}
words = {
    "sum", "by", "rate", "increase", "max", "min", "count", "on", "ignoring", "group_left", "group_right", "or", "and", "unless", "vector", "time",
    "histogram_quantile", "absent", "label_replace", "deriv", "bool", "without", "avg", "clamp_max", "le", "topk",
}


def expressions():
    """(where, expression) of everything that is asked anywhere."""
    for path in [*sorted((root / "monitoring" / "rules").glob("*.yaml")), root / "monitoring" / "autoscaler-limits.yaml"]:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                yield f"{path.name} {rule.get('alert') or rule.get('record')}", rule["expr"], "record" in rule
    for path in sorted((root / "monitoring" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                text = target["expr"].replace("$__rate_interval", "30s").replace("$namespace", ".*").replace("$pod", ".*")
                yield f"{path.name} {panel['title']} {target['refId']}", text, True
    for rule in yaml.safe_load((root / "monitoring" / "prometheus-adapter.yaml").read_text())["rules"]:
        name = rule["seriesQuery"].split("{")[0]
        query = rule["metricsQuery"].replace("<<.Series>>", name).replace("<<.LabelMatchers>>", 'namespace="undercurrent",pod=~".+"').replace("<<.GroupBy>>", "pod")
        yield f"adapter {rule['name']['as']}", rule["seriesQuery"], True
        yield f"adapter {rule['name']['as']}", query, True
    for path in sorted((root / "docs" / "runbooks").glob("*.md")):
        for query in re.findall(r"^promtool query instant \S+ '([^']*)'$", path.read_text(), re.M):
            yield f"runbook {path.stem}", query, False


def selectors(expression):
    """The series an expression names, without ranges: name{matchers}."""
    bare = re.sub(r'"[^"]*"', lambda match: match[0].replace("(", "").replace(")", ""), expression)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    bare = re.sub(r'label_replace\((.*?), "[^"]*", "[^"]*", "[^"]*", "[^"]*"\)', r"(\1)", bare)
    for match in re.finditer(r"(?<![0-9.])([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\{[^}]*\})?", re.sub(r"\[[^]]*\]", " ", bare)):
        if match[1] not in words and not bare[: match.start()].endswith('"') and not re.search(r"\{[^}]*$", bare[: match.start()]):
            yield match[1] + (match[2] or "")


def load(system, stop):
    """A little of everything: reads, computed answers, ingest, refusals."""
    connection, turn = system.connection(), 0
    while not stop.is_set():
        turn += 1
        for method, path, body in (
            ("GET", "/v1/domains", None), ("GET", "/v1/events", None), ("GET", "/v1/correlation-graph?eventId=BTCJPY", None),
            ("GET", "/v1/anomalies?limit=2", None), ("GET", "/v1/forecasts?limit=2", None), ("GET", "/v1/nowhere", None),
            ("POST", "/v1/observations", [{"domain": "check", "event": "load", "market": "m", "venue": "v", "time": 1_700_000_000_000 + turn * 1000, "value": turn}]),
        ):
            system.request(method, path, body, connection)
        time.sleep(0.05)


def check_exemplars(system, began):
    """By the expressions of the panels, as Grafana asks."""
    logs = "".join((system.folder / f"{each.pod}.log").read_text() for each in system.replicas)
    known = set(re.findall(r'"trace_?[iI]d":"([0-9a-f]{32})"', logs))
    found = {}
    for path in sorted((root / "monitoring" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                if not target.get("exemplar"):
                    continue
                text = target["expr"].replace("$__rate_interval", "30s").replace("$namespace", ".*").replace("$pod", ".*")
                series = system.ask_prometheus("query_exemplars", query=text, start=began, end=time.time())
                exemplars = [each for one in series for each in one["exemplars"]]
                if not exemplars:
                    faults.append(f"{path.name} {panel['title']}: no exemplar of {text}")
                for one in series:
                    bound = float(one["seriesLabels"]["le"].replace("+Inf", "inf"))
                    for each in one["exemplars"]:
                        if float(each["value"]) > bound or abs(float(each["timestamp"]) - time.time()) > 300:
                            faults.append(f"{path.name} {panel['title']}: {each} in the bucket {bound}")
                found |= {each["labels"].get("trace_id", ""): f"{path.name} {panel['title']}" for each in exemplars}
    strange = [trace for trace in found if trace not in known]
    # Not every line of a log is written when Prometheus has the exemplar already.
    if not found or len(strange) > len(found) / 10:
        faults.append(f"{len(strange)} of {len(found)} traces of exemplars are in no log: {strange[:3]}")
    return len(found)


def check_documented(exported):
    text = (root / "docs" / "metrics.md").read_text()
    documented = set(re.findall(r"^\| `(\w+)` \|", text, re.M))
    families = {name for name in exported if not name.startswith(("scrape_", "ALERTS", "undercurrent:")) and name != "up"}
    histograms = {name.removesuffix("_bucket") for name in families if name.endswith("_bucket")}
    families -= {f"{name}{end}" for name in histograms for end in ("_bucket", "_sum", "_count")}
    families |= histograms
    for name in sorted(families - documented):
        faults.append(f"{name} is exported and not in docs/metrics.md")
    for name in sorted(documented - families):
        faults.append(f"{name} is in docs/metrics.md and not exported")
    return len(families)


def main():
    with System(settings={service: collector for service in services}) as system:
        system.start_all()
        began = time.time()
        system.start_prometheus(rules=lambda text: text)
        stop = threading.Event()
        thread = threading.Thread(target=load, args=(system, stop), daemon=True)
        system.replay(*sorted((root / "Samples" / "market-btcjpy").glob("*.csv.gz")))
        thread.start()
        time.sleep(35)
        names = set(system.ask_prometheus("label/__name__/values"))
        asked, named = 0, set()
        for where, expression, must_have in expressions():
            asked += 1
            try:
                result = system.query(expression)
            except ValueError as error:
                faults.append(f"{where}: malformed: {error}")
                continue
            if must_have and not result:
                faults.append(f"{where}: no result of {expression}")
            for selector in selectors(expression):
                named.add(selector)
        for selector in sorted(named):
            if not system.query(f"count({selector})") and selector not in by_fault:
                faults.append(f"no series {selector}")
        for document in chart.render(chart.values_of("values-production.yaml")):
            if document["kind"] == "HorizontalPodAutoscaler":
                for metric in document["spec"]["metrics"]:
                    if metric["type"] == "Pods":
                        adapter = yaml.safe_load((root / "monitoring" / "prometheus-adapter.yaml").read_text())["rules"]
                        if metric["pods"]["metric"]["name"] not in {rule["name"]["as"] for rule in adapter}:
                            faults.append(f"the adapter has no {metric['pods']['metric']['name']}")
        stop.set()
        thread.join(10)
        count = check_documented(names)
        exemplars = check_exemplars(system, began)
    for fault in faults:
        print(fault)
    print(f"{asked} queries over {len(named)} selectors of {count} exported metrics, {exemplars} traces by exemplars, {len(faults)} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
