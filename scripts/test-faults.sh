#!/usr/bin/env bash
# The promises about faults, held against real processes: kills, outages, replicas that come and go, trials that are built in,
# damaged snapshots, readiness. Ends within 25 minutes. `make test` runs a shorter form of most of it, `make chaos` a longer one.
# FILTER=REGEX runs a part. FORMER_BIN=FOLDER: programs of an earlier release, which serve while this one migrates.
set -euo pipefail
# shellcheck source=scripts/lib/toolchain.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/toolchain.sh"
cd "$root"
# 200 kills in all.
export CHAOS_KILLS=${CHAOS_KILLS:-120} CHAOS_SNAPSHOT_KILLS=${CHAOS_SNAPSHOT_KILLS:-40} CHAOS_SCORING_KILLS=${CHAOS_SCORING_KILLS:-40}
export CHAOS_PAUSE_SECONDS=${CHAOS_PAUSE_SECONDS:-30} CHAOS_JOINS=${CHAOS_JOINS:-3} CHAOS_HOLD_SECONDS=${CHAOS_HOLD_SECONDS:-20} CHAOS_SEED=${CHAOS_SEED:-1}
# Tests that take minutes and are no part of `make test`.
export FAULTS_IN_FULL=1
install_packages iproute2 iptables
need_swift
say "building tests"
swift build --build-tests --quiet || die "the build of the tests failed"
say "making trouble (seed $CHAOS_SEED, $CHAOS_KILLS + $CHAOS_SNAPSHOT_KILLS + $CHAOS_SCORING_KILLS kills)"
exec timeout --foreground -s INT -k 20 1500 \
    stdbuf -oL swift test --skip-build --no-parallel --disable-xctest --filter \
    "${FILTER:-IntegrationTests.*(Kills|MigrationTrouble|Replicas|DelayedCommit|DatabaseTrouble|BuiltInChaos|ReadinessRun|Outage|Standstill|NetworkTrouble|ClockTrouble)|SnapshotTests|SnapshotTroubleTests|LayerTests|ResilienceTests|RecordingReaderTests|ReplayTests/wrongFiles|truncatedGzip|SecureTests/verifyFull|GatewaySettingsTests/(mismatchedPair|notPEM)|LiveEdgeTests/reload|expiredKey|APIKeyTests/rows|GroupCommitTests/full|boundedQueue|ReadinessFileTests|RunbookCommands|SystemdUnits}"
