#!/usr/bin/env bash
# Installs what tests need, runs all of them and ends with one line: N passed, N failed.
# Tests start their own PostgreSQL and their own processes. FILTER=REGEX runs a part.
set -euo pipefail
# shellcheck source=scripts/lib/toolchain.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/toolchain.sh"
cd "$root"

# Checks that may be left out on some machines, one per line: NAME, a tab, the reason. Anything else that does not run fails.
allowed=scripts/not-run-allowed.tsv

# A pooler to go through; it must not start a service of its own.
install_packages pgbouncer iproute2 iptables
need_swift
say "building tests"
swift build --build-tests --quiet || die "the build of the tests failed"

log=.build/tests.log
results=.build/tests
rm -f "$results"*.xml
say "running tests (all output in $log)"
status=0
# One after the other: some tests measure time, and starve beside others that fill every core.
# A test that hangs ends the run and is named: the log is written line by line for that. The suite itself takes 10 minutes.
timeout --foreground -s INT -k 20 "${LIMIT_SECONDS:-1800}" stdbuf -oL \
    swift test --skip-build --no-parallel --disable-xctest --xunit-output "$results.xml" ${FILTER:+--filter "$FILTER"} \
    >"$log" 2>&1 || status=$?

# One line per issue or failed test, as the test runner words it.
grep -aE '^. (Test|Suite) .* (recorded an issue|failed after)' "$log" | head -n 200 || true
passed=$(grep -acE '^. Test (".*"|[^ ]+\(.*\)) (with [0-9]+ test cases? )?passed after' "$log" || true)
failed=$(grep -acE '^. Test (".*"|[^ ]+\(.*\)) (with [0-9]+ test cases? )?failed after' "$log" || true)

# Tests that were skipped because something they need is not there.
while IFS= read -r line; do
    name=$(sed -E 's/^. Test "?(.*[^"])"? skipped.*$/\1/' <<<"$line")
    reason=$(sed -nE 's/^.* skipped: "?([^"]*)"?$/\1/p' <<<"$line")
    printf 'NOT RUN  %s: %s\n' "$name" "${reason:-no reason given}"
    if ! cut -f1 "$allowed" | grep -qxF "$name"; then failed=$((failed + 1)); fi
done < <(grep -aE '^. Test .* skipped' "$log" || true)

if ((status != 0 && failed == 0)); then
    tail -n 30 "$log"
    ((status != 124)) || printf 'hung: %s\n' "$(grep -a '^. Test "' "$log" | grep -a 'started\.$' | tail -n 1)"
    printf 'the test process ended with %s\n' "$status"
    failed=1
fi
if ((passed == 0)); then failed=$((failed + 1)); fi
printf '%s passed, %s failed\n' "$passed" "$failed"
((failed == 0))
