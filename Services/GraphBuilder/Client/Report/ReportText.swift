import Foundation
import Model

/// The report as a person reads it at a terminal.
struct ReportText {
    let data: ReportData
    let connection: ConnectionFile

    var text: String {
        let sections = [
            self.observations, self.layers, self.edges, self.anomalies, self.forecasts, self.rootCauses,
            self.goingOn,
        ]
        return sections.map { $0.joined(separator: "\n") }.joined(separator: "\n\n") + "\n"
    }

    private var observations: [String] {
        var table = TextTable([
            ("domain", .left), ("events", .right), ("nodes", .right), ("observations", .right), ("bucket", .right),
            ("evaluated up to", .left),
        ])
        for domain in self.data.domains {
            table.add(
                domain.domain, Figure.grouped(domain.events), Figure.grouped(domain.nodes),
                domain.observations.map { Figure.grouped(Int($0)) } ?? "-",
                domain.bucketMs.map { Figure.duration(milliseconds: Double($0)) } ?? "-",
                domain.lastEvaluated?.rfc3339 ?? "not yet")
        }
        let nodes = self.data.domains.reduce(0) { $0 + $1.nodes }
        var lines = ["OBSERVATIONS: \(Figure.grouped(nodes)) nodes in \(self.data.domains.count) domains"] + table.lines
        let sent = self.data.replays.reduce(0) { $0 + $1.sent }
        let seconds = self.data.replays.reduce(0) { $0 + $1.seconds }
        if sent > 0, seconds > 0 {
            let rejected = self.data.replays.reduce(0) { $0 + $1.rejected + $1.badRows }
            let duplicates = self.data.replays.reduce(0) { $0 + $1.duplicates }
            lines.append(
                "  replayed through the gateway: \(Figure.grouped(sent)) observations in \(Figure.fixed(seconds, 1)) s = "
                    + "\(Figure.grouped(Int(Double(sent) / seconds))) observations/s; "
                    + "\(Figure.grouped(duplicates)) duplicates, \(Figure.grouped(rejected)) rejected")
        }
        return lines
    }

    private var layers: [String] {
        var table = TextTable([
            ("layer", .left), ("edges", .right), ("pairs tested", .right), ("accepted", .right), ("state", .left),
        ])
        let names = ["L1 direct", "L2 cross-market", "L3 cross-event", "L4 cross-domain"]
        for (name, layer) in zip(names, self.data.layers) {
            let states = layer.states.sorted { $0.key < $1.key }.map { "\($0.key) in \($0.value) events" }
            table.add(
                name, Figure.grouped(layer.edges), Figure.grouped(layer.pairs), Figure.grouped(layer.accepted),
                states.isEmpty ? "ok" : states.joined(separator: ", "))
        }
        return ["GRAPHS of \(Figure.grouped(self.data.events)) events: edges per layer"] + table.lines + [
            "  (edges: different ones among the 50 strongest of each event and layer; pairs of two events count in both)"
        ]
    }

    private var edges: [String] {
        ["STRONGEST EDGES of each layer"] + Self.table(self.data.strongest)
            + ["", "WHO MOVES FIRST (the target follows the source after the lag)"] + Self.table(self.data.leading)
    }

    private static func table(_ edges: [Edge]) -> [String] {
        var table = TextTable([
            ("layer", .left), ("source", .left), ("target", .left), ("r", .right), ("95 % interval", .left),
            ("lag", .right), ("n_eff", .right), ("confidence", .right), ("estimator", .left),
        ])
        for edge in edges {
            table.add(
                edge.layer.code, Self.short(edge.source), Self.short(edge.target), Figure.fixed(edge.score, 3),
                "[\(Figure.fixed(edge.intervalLow, 3)), \(Figure.fixed(edge.intervalHigh, 3))]",
                edge.lagBuckets == 0 && edge.latencyMs == 0 ? "0" : Figure.duration(milliseconds: edge.latencyMs),
                Figure.fixed(edge.effectiveSize, 0), Figure.fixed(edge.confidence, 2), edge.estimator.rawValue)
        }
        return table.isEmpty ? ["  none"] : table.lines
    }

    private var anomalies: [String] {
        let found = self.data.anomalies
        let kinds = found.byKind.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
            .map { "\(Figure.grouped($0.value)) \($0.key)" }
        var lines = [
            "TOP ANOMALIES of \(Figure.grouped(found.read)) episodes"
                + (kinds.isEmpty ? "" : " (\(kinds.joined(separator: ", ")))")
        ]
        for anomaly in found.top {
            let subject = Self.short(anomaly.node) + (anomaly.target.map { " -> " + Self.short($0) } ?? "")
            lines.append(
                "  \(anomaly.severity.rawValue) \(anomaly.kind.rawValue) \(subject), opened \(anomaly.openedAt.rfc3339)"
            )
            lines.append("      \(anomaly.reason)")
        }
        return lines + (found.top.isEmpty ? ["  none"] : [])
    }

    private var forecasts: [String] {
        var lines = ["FORECASTS"]
        if let propagation = self.data.propagation {
            let shock = propagation.shock.map { "a change of \(Figure.significant($0.value))" } ?? "a change"
            lines.append("  where \(shock) of \(Self.short(propagation.source)) goes:")
            // The path with the most hops tells most; ties go to the surer one.
            let path = propagation.reached?.max { ($0.hops.count, $0.confidence) < ($1.hops.count, $1.confidence) }
            if let path {
                for hop in path.hops {
                    lines.append(
                        "      after \(Figure.duration(milliseconds: hop.cumulativeLatencyMs)): \(Self.short(hop.to)) "
                            + "(\(hop.layer.code), r \(Figure.fixed(hop.r, 2)), confidence \(Figure.fixed(hop.confidence, 2)))"
                    )
                }
                lines.append(
                    "      expected there: \(Figure.significant(path.impact)) "
                        + "[\(Figure.significant(path.impactInterval.low)), \(Figure.significant(path.impactInterval.high))] "
                        + "in its own units, confidence of the whole path \(Figure.fixed(path.confidence, 2))")
                lines.append("      \(propagation.reached?.count ?? 0) nodes are reached within 4 hops")
            } else {
                lines.append("      nowhere: \(propagation.reason ?? "no edge leads on")")
            }
        } else {
            lines.append("  no edge with a lag stands now, so nothing can be forecast")
        }
        let past = self.data.forecasts
        lines.append(
            "  past forecasts: \(Figure.grouped(past.forecasts)) recorded after observed moves, "
                + "\(Figure.grouped(past.scored)) scored at their horizon")
        if let signs = past.signHitRate {
            lines.append(
                "      direction right: \(Self.percent(signs)); by chance it would be "
                    + (past.baseRate.map { "\(Figure.fixed(100 * $0, 0)) %" } ?? "unknown"))
        }
        if let coverage = past.coverage {
            lines.append("      80 % interval held the outcome: \(Self.percent(coverage))")
        }
        return lines
    }

    private static func percent(_ share: ReportData.Share) -> String {
        "\(Figure.fixed(100 * share.value, 0)) % [\(Figure.fixed(100 * share.low, 0))-\(Figure.fixed(100 * share.high, 0))] "
            + "of \(Figure.grouped(share.n))"
    }

    private var rootCauses: [String] {
        var lines = ["ROOT CAUSES of the known faults (answers fetched and written first, labels read afterwards)"]
        var summary = TextTable([("recording", .left), ("@1", .left), ("@3", .left), ("@5", .left)])
        for result in self.data.rootCauses {
            summary.add(result.recording, result.at1.text, result.at3.text, result.at5.text)
        }
        guard !summary.isEmpty else { return lines + ["  the recordings with known faults are not loaded"] }
        lines += summary.lines
        for result in self.data.rootCauses {
            lines += ["", "  \(result.recording)"]
            var table = TextTable([
                ("case", .left), ("fault", .left), ("true cause", .left), ("rank", .right), ("named first", .left),
                ("then", .left),
            ])
            for one in result.cases {
                table.add(
                    one.name, one.fault ?? "", one.rootCause ?? "", one.rank.map(String.init) ?? "not named",
                    one.top3.first ?? "", one.top3.dropFirst().joined(separator: ", "))
            }
            lines += table.lines
        }
        return lines
    }

    private var goingOn: [String] {
        let options =
            "-sS" + (self.connection.caFile.map { " --cacert '\($0)'" } ?? "")
            + " -H 'X-API-Key: \(self.connection.apiKey)'"
        return [
            "GOING ON", "  URL  \(self.connection.url)", "  key  \(self.connection.apiKey)", "",
        ]
            + Examples(data: self.data).requests.map { example in
                switch example.body {
                case nil: "  curl \(options) '\(self.connection.url)\(example.path)'"
                case let body?:
                    "  curl \(options) -H 'Content-Type: application/json' -d '\(body)' '\(self.connection.url)\(example.path)'"
                }
            }
    }

    /// `BTCJPY|last|btcbox`; the domain is left out where the event tells enough.
    static func short(_ node: NodeKey) -> String { "\(node.event)|\(node.market)|\(node.venue)" }
}

/// The three requests that the report shows; they are made once before they are shown.
struct Examples {
    let data: ReportData

    var requests: [(path: String, body: String?)] {
        let event = self.data.strongest.first?.source.event ?? self.data.anomalies.top.first?.event
        var requests: [(path: String, body: String?)] = [("/v1/anomalies?limit=3", nil)]
        requests.append(
            (event.map { "/v1/correlation-graph?eventId=\(ReportReader.encoded($0))" } ?? "/v1/events", nil))
        if self.data.rootCauses.isEmpty {
            requests.append(("/v1/domains", nil))
        } else {
            requests.append(
                ("/v1/root-causes", RootCauseTrial.nezhaBody(at: Timestamp(milliseconds: 1_661_140_434_000))))
        }
        return requests
    }
}
