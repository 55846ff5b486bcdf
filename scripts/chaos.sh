#!/usr/bin/env bash
# The tests of Tests/IntegrationTests/Chaos with their full numbers; `make test` runs them with small ones. Every number can be
# set, see ChaosSettings.swift there: CHAOS_KILLS=10 scripts/chaos.sh. FILTER=REGEX runs a part.
set -euo pipefail
# shellcheck source=scripts/lib/toolchain.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/toolchain.sh"
cd "$root"
export CHAOS_KILLS=${CHAOS_KILLS:-240} CHAOS_SNAPSHOT_KILLS=${CHAOS_SNAPSHOT_KILLS:-80} CHAOS_SCORING_KILLS=${CHAOS_SCORING_KILLS:-80}
export CHAOS_PAUSE_SECONDS=${CHAOS_PAUSE_SECONDS:-30} FAULTS_IN_FULL=1 CHAOS_JOINS=${CHAOS_JOINS:-10} CHAOS_HOLD_SECONDS=${CHAOS_HOLD_SECONDS:-65} CHAOS_SEED=${CHAOS_SEED:-1}
install_packages iproute2 iptables
need_swift
say "building tests"
swift build --build-tests --quiet || die "the build of the tests failed"
say "killing, stopping and cutting off (seed $CHAOS_SEED)"
exec timeout --foreground -s INT -k 20 7200 \
    swift test --skip-build --no-parallel --disable-xctest --filter "${FILTER:-IntegrationTests.*(Kills|Replicas|DelayedCommit|DatabaseTrouble|Standstill|NetworkTrouble|ClockTrouble)}"
