import Engine
import Foundation
import Model
import Recordings
import Testing

/// `reference-rankings.csv` was written by the numpy implementation of the method, from the same recordings.
@Suite("Root causes against the reference implementation")
struct RootCauseReferenceTests {
    /// How often the cause is among the first 1, 3 and 5 of the five minutes after each fault, or after an alarm this late.
    private static func nezhaHits(
        knowsCalls: Bool, lateMs: Int64 = 0, _ check: (RootCauseReport, RecordedFault) throws -> Void = { _, _ in }
    ) throws -> [Int] {
        let system = try RecordedSystem(RecordedSystem.nezha.appending(path: "metrics.csv.gz")) {
            knowsCalls || $0.domain != "call"
        }
        let calls = knowsCalls ? try RecordedSystem.calls(RecordedSystem.nezha) : []
        let faults = try LabelFiles.faults(at: RecordedSystem.nezha.appending(path: "faults.csv").path)
        #expect(faults.count == 24)
        var hits = [0, 0, 0]
        for fault in faults {
            let after = fault.injectedAt.advanced(byMilliseconds: lateMs)
            let through = after.advanced(byMilliseconds: 300_000)
            let grid = system.grid(
                bucketMs: 60_000, after: after.advanced(byMilliseconds: -7_200_000), through: through)
            let report = RootCauseRanking.rank(
                RootCauseInput(
                    nodes: system.nodes, grid: grid, after: after, through: through, baselineMs: 7_200_000,
                    callGraph: calls))
            try check(report, fault)
            Self.count(report, fault.rootCause, &hits)
        }
        return hits
    }

    @Test("rankings and scores of all Nezha faults equal the reference")
    func nezha() throws {
        let hits = try Self.nezhaHits(knowsCalls: true) { report, fault in
            let name = "nezha/\(fault.injectedAt.milliseconds)"
            try Self.compare(report, ReferenceRanking.all[name], name)
            #expect(report.callGraph == .declared)
        }
        #expect(hits == [21, 21, 23])
    }

    @Test("without call graph and call series most causes are among the first five still")
    func withoutCalls() throws {
        let hits = try Self.nezhaHits(knowsCalls: false) { report, _ in #expect(report.callGraph == .none) }
        #expect(hits[0] >= 17 && hits[1] >= 20 && hits[2] >= 22)
    }

    @Test("an alarm that comes 60 s late does not destroy the ranking", arguments: [true, false])
    func lateAlarm(knowsCalls: Bool) throws {
        let hits = try Self.nezhaHits(knowsCalls: knowsCalls, lateMs: 60_000)
        let least = knowsCalls ? [21, 21, 23] : [16, 19, 20]
        for (own, wanted) in zip(hits, least) { #expect(own >= wanted) }
    }

    @Test("rankings and scores of all PetShop cases equal the reference")
    func petshop() throws {
        let folder = RecordedSystem.petshop
        var rows: [Observation] = []
        let files =
            try [folder.appending(path: "normal.csv.gz")]
            + FileManager.default.contentsOfDirectory(
                at: folder.appending(path: "cases"), includingPropertiesForKeys: nil)
        for file in files {
            let reader = try RecordingReader(path: file.path)
            while let row = try reader.next() { rows.append(row) }
        }
        // All cases and the normal period in one store, as in production; they do not overlap in time.
        rows.sort { $0.time < $1.time }
        let system = RecordedSystem(rows)
        let normalThrough = try #require(rows.last).time
        let cases = try LabelFiles.cases(at: folder.appending(path: "cases.csv").path)
        let normalAfter = Timestamp(milliseconds: 1_692_608_400_000 - 1)
        let normal = system.grid(bucketMs: 300_000, after: normalAfter, through: normalThrough)
        let calls = try RecordedSystem.calls(folder)
        var hits = [0, 0, 0]
        for item in cases {
            let after = item.first.advanced(byMilliseconds: -1)
            let window = system.grid(bucketMs: 300_000, after: after, through: item.last)
            let report = RootCauseRanking.rank(
                RootCauseInput(
                    nodes: system.nodes, normal: normal, normalAfter: normalAfter, normalThrough: normalThrough,
                    window: window, after: after, through: item.last, callGraph: calls,
                    target: RootCauseTarget(
                        event: item.targetEvent, market: item.targetMarket, venue: item.targetVenue)))
            try Self.compare(report, ReferenceRanking.all["petshop/\(item.name)"], item.name)
            Self.count(report, item.rootCause, &hits)
        }
        #expect(cases.count == 26)
        #expect(hits == [26, 26, 26])
    }

    private static func compare(
        _ report: RootCauseReport, _ reference: [ReferenceRanking.Row]?, _ name: String
    ) throws {
        let reference = try #require(reference, "\(name) is in the reference")
        #expect(report.candidates.map(\.event) == reference.map(\.event), "order in \(name)")
        for (own, row) in zip(report.candidates, reference) {
            for (value, wanted) in [
                (own.score, row.score), (own.local, row.local), (own.impact, row.impact),
                (own.loadResidual, row.loadResidual),
            ] where !(abs(value - wanted) <= 1e-9 * max(1, abs(wanted))) {
                Issue.record("\(name), \(own.event): \(value) is not \(wanted)")
            }
        }
    }

    private static func count(_ report: RootCauseReport, _ truth: String, _ hits: inout [Int]) {
        guard let place = report.candidates.firstIndex(where: { $0.event == truth }) else { return }
        for (index, depth) in [1, 3, 5].enumerated() where place < depth { hits[index] += 1 }
    }
}
