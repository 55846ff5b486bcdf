import Foundation
import Model
import Testing
import Yams

@testable import Gateway

/// Values that the services encode, against the members their schemas list.
@Suite("Schemas of the OpenAPI document")
struct OpenAPISchemaTests {
    static let node = NodeKey(domain: "d", event: "e", market: "m", venue: "v")
    static let time = Timestamp(milliseconds: 0)

    static let edge = Edge(
        source: Self.node, target: Self.node, layer: .direct, relation: .leadLag, estimator: .pearson, score: 0.8,
        lagBuckets: 1, latencyMs: 10, lagSource: .baseline, overlap: 120, effectiveSize: 80, intervalLow: 0.7,
        intervalHigh: 0.9, pValue: 0, qValue: 0, confidence: 0.9, expectedPropagation: 1, bucketMs: 1_000,
        windowStart: Self.time, windowEnd: Self.time, detectedAt: Self.time, explainedBy: Self.node)

    static let anomaly = Anomaly(
        id: "0", kind: .hiddenEdge, event: "e", node: Self.node, target: Self.node, layer: .direct,
        startedAt: Self.time, openedAt: Self.time, closedAt: Self.time, severity: .low, peakStatistic: 1, level: 1,
        values: [:], reason: "r")

    static let profile = DomainProfile(domain: "d", bucketMs: 1, allowedLatenessMs: 1)

    static let key = APIKeyRoutes.Item(
        APIKeyRecord(
            id: "0", secretHash: [], caller: "c", scopes: [.read], expiresAt: Self.time, revokedAt: Self.time,
            createdAt: Self.time), key: "k")

    static let health = HealthCheck.Report(
        status: .healthy, reasons: [], services: [:],
        metrics: .init(dbLatency: 1, activeConnections: 0, lastSuccessfulBuild: "t"))

    static let problem = Problem(.rateLimited, detail: "d", retryAfter: 1, traceId: "t", scope: "global")

    /// A value with every member, and the members that the API adds to it.
    static let cases: [(schema: String, value: any Encodable & Sendable, added: Set<String>)] = [
        ("Node", Self.node, []),
        ("Edge", Self.edge, ["confidenceBand", "severity"]),
        ("LayerReport", LayerReport(layer: .direct, state: .stale, reason: "r"), []),
        ("Anomaly", Self.anomaly, ["state"]),
        ("DomainProfile", Self.profile, []),
        ("MarketFacts", MarketFacts(kind: .local), []),
        ("APIKey", Self.key, []),
        ("Health", Self.health, []),
        ("Problem", Self.problem, []),
    ]

    @Test("a schema lists the members the code writes, all of them and no others", arguments: Self.cases.indices)
    func members(index: Int) throws {
        let (name, value, added) = Self.cases[index]
        let data = try JSONEncoder().encode(value)
        let written = try #require(StrictJSON.parse(Array(data))?.fields)
        let schema = try Self.schema(name)
        let listed = try #require(schema["properties"]?.mapping).compactMap { $0.key.string }
        #expect(Set(listed) == Set(written.keys).union(added), "\(name)")
        let required = OpenAPITests.texts(schema["required"])
        #expect(Set(required).isSubset(of: listed), "\(name)")
    }

    @Test("what a schema requires is written even when everything optional is missing")
    func required() throws {
        var edge = Self.edge
        edge.explainedBy = nil
        var anomaly = Self.anomaly
        anomaly.target = nil
        anomaly.layer = nil
        anomaly.closedAt = nil
        let bare: [(String, any Encodable, Set<String>)] = [
            ("Edge", edge, ["confidenceBand", "severity"]),
            ("Anomaly", anomaly, ["state"]),
            ("LayerReport", LayerReport(layer: .direct, state: .ok), []),
            ("Problem", Problem(.notFound, detail: "d"), []),
        ]
        for (name, value, added) in bare {
            let written = try #require(StrictJSON.parse(Array(try JSONEncoder().encode(value)))?.fields)
            let required = OpenAPITests.texts(try Self.schema(name)["required"])
            #expect(Set(required) == Set(written.keys).union(added), "\(name)")
        }
    }

    @Test("the ranges of a domain profile are the ones the code accepts")
    func ranges() throws {
        let properties = try #require(try Self.schema("DomainProfile")["properties"])
        for field in ["presentBuckets", "baselineBuckets", "lagBuckets", "periodMs", "bucketMs", "allowedLatenessMs"] {
            let low = try #require(properties[field]?["minimum"]?.int)
            let high = try #require(properties[field]?["maximum"]?.int)
            for (value, isGood) in [(low - 1, false), (low, true), (high, true), (high + 1, false)] {
                let json = Data(#"{"domain":"d","\#(field)":\#(value)}"#.utf8)
                let profile = try JSONDecoder().decode(DomainProfile.self, from: json)
                let isAccepted = (try? profile.validate()) != nil
                #expect(isAccepted == isGood, "\(field) \(value)")
            }
        }
    }

    private static func schema(_ name: String) throws -> Node {
        let root = try #require(try Yams.compose(yaml: String(contentsOf: OpenAPITests.file, encoding: .utf8)))
        return try #require(root["components"]?["schemas"]?[name], "there is no schema \(name)")
    }
}
