#!/usr/bin/env bash
# Proves images, chart, manifests and monitoring. Each check prints one line; one that cannot run prints NOT RUN and fails,
# unless scripts/not-run-allowed.tsv gives a reason. ONLY=REGEX runs some; QUICK=1 leaves out the four that take
# minutes; UNDERCURRENT_BIN=DIR has the programs, which are built without it.
set -euo pipefail
# shellcheck source=scripts/lib/toolchain.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/toolchain.sh"
cd "$root"

install_packages python3-venv shellcheck prometheus prometheus-alertmanager iproute2
need_swift
say "installing the checkers"
python=$(python_with kubernetes -r Tests/Kubernetes/requirements.txt) || die "the checkers cannot be installed"
tools=$(dirname "$python")
build_services
BINARIES=$bin
export BINARIES PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$root/scripts/kubernetes:$root/Tests/Kubernetes

logs=.build/test-k8s
mkdir -p "$logs"
passed=0 failed=0 left_out=0

# check NAME COMMAND...: 0 passed, 77 not run (the last line says why), anything else failed.
check() {
    local name=$1 log status=0 began=$SECONDS
    shift
    [[ -z ${ONLY:-} || $name =~ $ONLY ]] || return 0
    log=$logs/${name// /-}.log
    "$@" >"$log" 2>&1 </dev/null || status=$?
    case $status in
        0)
            passed=$((passed + 1))
            printf 'passed   %s: %s (%s s)\n' "$name" "$(tail -n 1 "$log")" $((SECONDS - began))
            ;;
        77)
            printf 'NOT RUN  %s: %s\n' "$name" "$(tail -n 1 "$log")"
            if cut -f1 scripts/not-run-allowed.tsv | grep -qxF "$name"; then left_out=$((left_out + 1)); else failed=$((failed + 1)); fi
            ;;
        *)
            failed=$((failed + 1))
            printf 'FAILED   %s (%s):\n' "$name" "$log"
            tail -n 15 "$log" | sed 's/^/    /'
            ;;
    esac
}

# alone COMMAND...: in a network namespace with nothing but loopback; where that is not to be had, as it is.
alone() {
    local options=(-n)
    ((EUID == 0)) || options=(-rn)
    if unshare "${options[@]}" true 2>/dev/null; then
        unshare "${options[@]}" bash -c 'ip link set lo up 2>/dev/null; exec "$@"' alone "$@"
    else
        "$@"
    fi
}

# live NAME: a check that starts the services. PostgreSQL refuses root, so without it there is no namespace.
live() {
    if ((EUID == 0)); then alone "$python" "Tests/Kubernetes/$1.py"; else "$python" "Tests/Kubernetes/$1.py"; fi
}

lint_yaml() {
    "$tools/yamllint" --strict .yamllint helm/undercurrent/Chart.yaml helm/undercurrent/values*.yaml k8s monitoring &&
        echo "YAML is in order"
}

lint_scripts() { shellcheck -x .ci/run scripts/*.sh scripts/lib/*.sh scripts/images/*.sh scripts/kubernetes/*.sh && echo "shell scripts are in order"; }
lint_images() { "$tools/hadolint" Dockerfile && echo "Dockerfile is in order"; }

# overlays: what kubectl makes of each overlay is what Helm renders from the values of its name, object by object.
overlays() {
    local name
    for name in staging production; do
        "$tools/kubectl" kustomize "k8s/overlays/$name" >"$logs/$name.yaml" || return 1
        "$python" Tests/Kubernetes/overlay.py "$name" "$logs/$name.yaml" || return 1
    done
    "$tools/kubectl" kustomize k8s/monitoring >"$logs/operator.yaml" && "$tools/kubectl" kustomize k8s/base >"$logs/base.yaml"
}

# The scanner must not find a network to report to.
scan() { alone bash scripts/kubernetes/scan.sh "$tools"; }

check "derived files" "$python" scripts/kubernetes/generate.py --check
check "yamllint" lint_yaml
check "shellcheck" lint_scripts
if [[ -e Dockerfile ]]; then check "hadolint" lint_images; fi
check "chart" "$python" Tests/Kubernetes/render.py
check "overlays" overlays
check "autoscaling rule" "$python" Tests/Kubernetes/autoscaler_rule.py
check "monitoring" "$python" Tests/Kubernetes/monitoring.py
check "checkov" scan
check "metrics" live live_metrics
check "connections" live network
if [[ ${QUICK:-0} != 1 ]]; then
    check "planted faults" "$python" Tests/Kubernetes/planted.py
    check "rolling update" live rolling_update
    check "autoscaling" live live_autoscaling
    check "alerts" live live_alerts
fi

printf '%s passed, %s failed, %s not run with a reason\n' "$passed" "$failed" "$left_out"
((failed == 0))
