import Engine
import Model
import PlantedData

/// Alarms about links that do not change, and how soon those that do are noticed.
enum LinkBreaks {
    static let section = CalibrationCommand.Section(
        name: "breaks",
        about: """
            Links of rho .9 (signal to noise rho^2/(1 - rho^2) = 4.3; .7: .96; .45: .25), one-minute buckets, present 120, baseline \
            720, two nodes a link. Quiet: alarms per node-day. Recall: links whose break is an open episode within so many buckets \
            of it. Precision: alarms on links that did break, of all alarms, where every second link breaks once in 300 buckets.
            """, run: Self.run)

    private static let kinds: [(name: String, memory: Double, law: PlantedPairs.Law)] = [
        ("white", 0, .normal), ("AR(1) .9", 0.9, .normal), ("t3", 0, .heavy),
    ]

    private static func run(_ scale: Double) -> [CalibrationRow] {
        Self.quiet(scale) + Self.decoys(scale) + Self.recall(scale) + Self.precision(scale)
    }

    private static func quiet(_ scale: Double) -> [CalibrationRow] {
        let pairs = Int(200 * scale)
        return Self.kinds.map { kind in
            let planted = PlantedPairs(pairs: pairs, buckets: 2_880, memory: kind.memory, law: kind.law, seed: 401)
            let alarms = planted.episodes(kind: .correlationBreak).count
            return CalibrationRow(
                "breaks", "quiet, \(kind.name): alarms per node-day", events: alarms, per: Double(2 * pairs) * 2,
                goal: .atMost(0.05))
        }
    }

    /// Both sides twice as loud, as much related as before.
    private static func decoys(_ scale: Double) -> [CalibrationRow] {
        let pairs = Int(400 * scale)
        return Self.kinds.map { kind in
            let planted = PlantedPairs(
                pairs: pairs, buckets: 220, memory: kind.memory, law: kind.law, changeAt: 20, scaleAfter: 2, seed: 402)
            let alarmed = Set(planted.episodes(kind: .correlationBreak).map(\.anomaly.node)).count
            return CalibrationRow(
                "breaks", "both sd doubled, \(kind.name): links alarmed within 200", hits: alarmed, of: pairs,
                goal: .atMost(0.05))
        }
    }

    private static func recall(_ scale: Double) -> [CalibrationRow] {
        let pairs = Int(400 * scale)
        let changes: [(name: String, before: Double, after: Double, over: Int)] = [
            (".9 -> 0", 0.9, 0, 0), (".9 -> .45", 0.9, 0.45, 0), (".7 -> 0", 0.7, 0, 0),
            (".9 -> 0 over 30 buckets", 0.9, 0, 30),
        ]
        var rows: [CalibrationRow] = []
        for change in changes {
            for kind in Self.kinds {
                let planted = PlantedPairs(
                    pairs: pairs, buckets: 100, memory: kind.memory, law: kind.law, score: change.before, changeAt: 20,
                    scoreAfter: change.after, seed: 403, changeOver: change.over)
                var delays: [NodeKey: Int] = [:]
                for (bucket, anomaly) in planted.episodes(kind: .correlationBreak)
                where bucket >= 20 && delays[anomaly.node] == nil {
                    delays[anomaly.node] = bucket - 20
                }
                let isPromised = change.name == ".9 -> 0"
                for limit in [20, 60] {
                    rows.append(
                        CalibrationRow(
                            "breaks", "\(change.name), \(kind.name): within \(limit)",
                            hits: delays.values.count { $0 < limit }, of: pairs,
                            goal: isPromised && limit == 20 ? .atLeast(0.9) : .none))
                }
                let sorted = delays.values.sorted()
                if isPromised, !sorted.isEmpty {
                    let median = Double(sorted[sorted.count / 2])
                    rows.append(
                        CalibrationRow(
                            "breaks", "\(change.name), \(kind.name): median delay in buckets", value: median,
                            low: Double(sorted[sorted.count / 4]), high: Double(sorted[sorted.count * 3 / 4]),
                            count: sorted.count, goal: .none))
                }
            }
        }
        return rows
    }

    private static func precision(_ scale: Double) -> [CalibrationRow] {
        let pairs = Int(200 * scale)
        return Self.kinds.map { kind in
            let broken = PlantedPairs(
                pairs: pairs, buckets: 300, memory: kind.memory, law: kind.law, changeAt: 100, scoreAfter: 0, seed: 404)
            let whole = PlantedPairs(pairs: pairs, buckets: 300, memory: kind.memory, law: kind.law, seed: 405)
            let alarms = broken.episodes(kind: .correlationBreak)
            let right = alarms.count { $0.bucket >= 100 }
            let wrong = whole.episodes(kind: .correlationBreak).count + alarms.count - right
            return CalibrationRow(
                "breaks", "precision, \(kind.name)", hits: right, of: right + wrong, goal: .atLeast(0.9))
        }
    }
}
