"""Checks monitoring/ as it stands: configuration, rules, tests of every alert, runbooks, dashboards."""

import json
import re
import subprocess
import sys
import tempfile

import chart
import yaml

folder = chart.root / "monitoring"
faults = []


def expect(holds, text):
    if not holds:
        faults.append(text)


def run(*command):
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True)
    expect(done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout


def alerts():
    rules = yaml.safe_load((folder / "rules" / "alerts.yaml").read_text())
    return [rule for group in rules["groups"] for rule in group["rules"]]


def check_configuration():
    """Debian's Prometheus is built without discovery in Kubernetes, so that one section is left out for it."""
    configuration = yaml.safe_load((folder / "prometheus.yaml").read_text())
    for job in configuration["scrape_configs"]:
        discovery = job.pop("kubernetes_sd_configs")
        expect(discovery == [{"role": "pod", "namespaces": {"names": ["undercurrent"]}}], "another discovery than expected")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", dir=folder) as file:
        yaml.safe_dump(configuration, file)
        file.flush()
        run("promtool", "check", "config", file.name)
    for path in [*(folder / "rules").glob("*.yaml"), folder / "autoscaler-limits.yaml"]:
        run("promtool", "check", "rules", path)
    run("amtool", "check-config", folder / "alertmanager.yaml")
    for labels, receiver in (
        (["alertname=UndercurrentDeadMan", "severity=none"], "watch"),
        (["alertname=UndercurrentMemoryHigh", "severity=page"], "pager"),
        (["alertname=UndercurrentGraphBuildSlow", "severity=ticket"], "tickets"),
        (["alertname=Other"], "tickets"),
    ):
        run("amtool", "config", "routes", "test", f"--config.file={folder / 'alertmanager.yaml'}",
            f"--verify.receivers={receiver}", *labels)


def panels():
    found = {}
    for path in (folder / "dashboards").glob("*.json"):
        board = json.loads(path.read_text())
        found[board["uid"]] = {panel["id"]: panel for panel in board["panels"]}
    return found


def check_alerts():
    boards = panels()
    cases = [case["name"] for path in (folder / "tests").glob("*.yaml") for case in yaml.safe_load(path.read_text())["tests"]]
    fires, silent = set(), set()
    for path in (folder / "tests").glob("*.yaml"):
        for case in yaml.safe_load(path.read_text())["tests"]:
            for each in case.get("promql_expr_test", []):
                name = re.search(r'alertname="(\w+)"', each["expr"])[1]
                expect(case["name"].startswith(name + ":"), f"case {case['name']!r} is about {name}")
                (fires if each["exp_samples"] else silent).add(name)
    expect(len(cases) == len(set(cases)), "two cases of one name")
    windows = {("Availability", each) for each in ("1h", "6h", "1d", "3d")} | {("Latency", each) for each in ("1h", "6h", "1d", "3d")}
    for rule in alerts():
        name, notes = rule["alert"], rule.get("annotations", {})
        burn = re.match(r"Undercurrent(\w+)BudgetBurn", name)
        if burn:
            windows.discard((burn[1], rule["labels"]["window"]))
        expect(rule["labels"].get("severity") in ("page", "ticket", "none"), f"{name} has no severity")
        expect("$value" in notes.get("summary", ""), f"the summary of {name} has no value")
        expect(len(notes.get("description", "")) > 20, f"{name} is not described")
        page = chart.root / "docs" / "runbooks" / f"{name}.md"
        expect(notes.get("runbook_url", "").endswith(f"/docs/runbooks/{name}.md"), f"{name} names another runbook")
        if page.exists():
            text = page.read_text()
            for title in ("## Meaning", "## Impact", "## Check", "## Mend"):
                expect(title in text, f"the runbook of {name} has no part {title}")
            expect("```" in text.split("## Check")[-1].split("## Mend")[0], f"the runbook of {name} has no command to check with")
        else:
            faults.append(f"{name} has no runbook")
        link = re.fullmatch(r"/d/([\w-]+)\?viewPanel=(\d+)", notes.get("dashboard", ""))
        expect(link and int(link[2]) in boards.get(link[1], {}), f"{name} links to a panel that is not there")
        expect(name in fires, f"no test in which {name} fires")
        expect(name in silent or name == "UndercurrentDeadMan", f"no test in which {name} must not fire")
    names = {rule["alert"] for rule in alerts()}
    expect(not windows, f"no burn rate for {windows}")
    for page in (chart.root / "docs" / "runbooks").glob("Undercurrent*.md"):
        expect(page.stem in names, f"{page.name} is about no alert")
    return len(names)


def check_dashboards():
    boards = [json.loads(path.read_text()) for path in sorted((folder / "dashboards").glob("*.json"))]
    expect(len(boards) == 6, f"{len(boards)} dashboards")
    count, exemplars = 0, 0
    for board in boards:
        where = board["uid"]
        variables = {each["name"] for each in board["templating"]["list"]}
        expect(variables == {"datasource", "namespace", "pod"}, f"{where}: variables {variables}")
        numbers = [panel["id"] for panel in board["panels"]]
        expect(len(numbers) == len(set(numbers)), f"{where}: a panel number twice")
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
        expect(len(places) == len(set(places)), f"{where}: two panels in one place")
        for panel in board["panels"]:
            count += 1
            title = f"{where}/{panel['title']}"
            expect(panel["fieldConfig"]["defaults"].get("unit"), f"{title}: no unit")
            for target in [panel, *panel["targets"]]:
                expect(target["datasource"]["uid"] == "${datasource}", f"{title}: its data source is fixed")
            for target in panel["targets"]:
                expect("$namespace" in target["expr"] or target["expr"].startswith("undercurrent:autoscaler"), f"{title}: takes all namespaces")
                if target.get("exemplar"):
                    exemplars += 1
                    expect("histogram_quantile" in target["expr"], f"{title}: exemplars of what has none")
    expect(exemplars >= 4, f"only {exemplars} queries show exemplars")
    return count


def check_exemplars():
    """What an exemplar names is what Grafana is told to look up, in a data source that is there."""
    sources = yaml.safe_load((folder / "grafana-datasources.yaml").read_text())["datasources"]
    targets = [each for source in sources for each in source.get("jsonData", {}).get("exemplarTraceIdDestinations", [])]
    expect(targets, "exemplars lead nowhere")
    written = (chart.root / "Shared" / "Telemetry" / "Metrics" / "Exemplar.swift").read_text()
    for each in targets:
        expect(f'{{{each["name"]}=' in written, f"services write no {each['name']} into exemplars")
        expect(each["datasourceUid"] in {source["uid"] for source in sources}, f"{each['datasourceUid']} is no data source")


def main():
    check_configuration()
    count = check_alerts()
    shown = check_dashboards()
    check_exemplars()
    for path in sorted((folder / "tests").glob("*.yaml")):
        output = run("promtool", "test", "rules", path)
        expect("SUCCESS" in output, f"{path.name}: {output}")
    for fault in faults:
        print(fault)
    print(f"{count} alerts, {shown} panels, {len(faults)} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
