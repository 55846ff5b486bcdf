import Foundation
import Model
import Postgres
import Testing

extension ProcessTests {
    /// An observation's whole way: through the door into PostgreSQL, then graph, anomaly, root cause.
    @Suite("The whole way")
    struct WholeWayTests {
        private struct Graph: Decodable {
            var id: String
            var windowEnd: Timestamp
            var edges: [Edge]
            var layers: [LayerReport]
        }

        private struct Page<Item: Decodable>: Decodable { var items: [Item] }

        private struct Domain: Decodable {
            var domain: String
            var pendingBuckets: Int
            var waitingBuckets: Int
            var lastEvaluated: Timestamp?
        }

        /// A repeatable stream of noise in -1 ... 1.
        private struct Noise {
            var state: UInt64
            mutating func next() -> Double {
                self.state = self.state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return Double(Int64(bitPattern: self.state) >> 11) / 4_503_599_627_370_496
            }
        }

        private func waitUntilEvaluated(_ domain: String, _ stack: Stack) async throws {
            try await stack.eventually("\(domain) is evaluated", seconds: 120) {
                let reply = try await stack.get("/v1/domains")
                let domains: Page<Domain> = try reply.json()
                guard let found = domains.items.first(where: { $0.domain == domain }),
                    found.pendingBuckets + found.waitingBuckets == 0, found.lastEvaluated != nil
                else { throw RunningProgram.Failure(description: reply.text) }
                return true
            }
        }

        @Test("two venues with a planted lag become an L1 edge with that lag; a level shift becomes an anomaly")
        func graphAndAnomaly() async throws {
            let stack = try await Stack.shared()
            let (domain, event) = (ProcessTests.event("market"), ProcessTests.event("pair"))
            #expect(
                try await stack.put(
                    "/v1/domains/\(domain)",
                    """
                    {"domain":"\(domain)","bucketMs":1000,"presentBuckets":60,"baselineBuckets":240,"lagBuckets":5,"periodMs":0}
                    """
                ).status < 300)
            var noise = Noise(state: 7)
            let common = (0..<420).map { _ in noise.next() }
            var lines: [String] = []
            for index in 3..<420 {
                // A day before all other domains, so that none of them is a partner this one would wait for.
                let time = ProcessTests.origin - 86_400_000 + Int64(index) * 1_000
                let shift = index >= 380 ? 60.0 : 0
                lines.append(
                    Stack.line(
                        domain: domain, event: event, venue: "leads", time: time,
                        value: common[index] + 0.2 * noise.next()))
                lines.append(
                    Stack.line(
                        domain: domain, event: event, venue: "follows", time: time,
                        value: common[index - 2] + 0.2 * noise.next() + shift))
            }
            // The graph before the shift.
            let calm = Array(lines.prefix(2 * (370 - 3)))
            #expect(try await stack.observe(calm).status == 200)
            try await self.waitUntilEvaluated(domain, stack)
            // Evaluated is one thing, published the next.
            var answer: Reply?
            let evaluated = try await stack.get("/v1/domains").json(Page<Domain>.self).items
                .first { $0.domain == domain }?.lastEvaluated
            try await stack.eventually("the graph of the last window is published") {
                let reply = try await stack.get("/v1/correlation-graph?eventId=\(event)")
                answer = reply
                return try reply.json(Graph.self).windowEnd == evaluated
            }
            let reply = try #require(answer)
            let graph: Graph = try reply.json()
            let edge = try #require(graph.edges.first { $0.layer == .direct }, "\(reply.text.prefix(1_000))")
            #expect(edge.source.venue == "leads" && edge.target.venue == "follows" && edge.lagBuckets == 2)
            #expect(edge.score > 0.8 && edge.intervalLow <= edge.score && edge.score <= edge.intervalHigh)
            #expect(edge.effectiveSize >= 10 && edge.qValue <= 0.05)
            let tag = try #require(reply.header("etag"))
            let unchanged = try await stack.call(
                "GET", "/v1/correlation-graph?eventId=\(event)", key: try await stack.key(scopes: "read"),
                headers: [("If-None-Match", tag)])
            #expect(unchanged.status == 304 && unchanged.body.isEmpty)
            #expect(try await stack.get("/api/correlation-graph?eventId=\(event)").json(Graph.self).id == graph.id)
            #expect(try await stack.get("/v1/events/\(event)").status == 200)
            // The shift.
            #expect(try await stack.observe(Array(lines.dropFirst(calm.count))).status == 200)
            try await self.waitUntilEvaluated(domain, stack)
            try await stack.eventually("the shift is an anomaly", seconds: 60) {
                let page: Page<Anomaly> = try await stack.get("/v1/anomalies?event=\(event)").json()
                return page.items.contains { !$0.reason.isEmpty && $0.event == event }
            }
            // Anyone can make the first graph again; with one stored value changed it does not come out.
            try await stack.runToEnd("graph-builder", ["verify", graph.id])
            let verified = try await stack.runToEnd("graph-builder", ["verify", graph.id, "--output", "json"])
            #expect(verified.contains(#""state" : "equal""#) && verified.contains(graph.id), "\(verified)")
            let connection = try await PostgresConnection.connect(
                PostgresConfiguration(connectionString: stack.databaseURL))
            let changed = try await connection.query(
                """
                UPDATE observations SET value = value + 0.5 WHERE observed_at = $1 AND node_id IN
                    (SELECT node_id FROM nodes WHERE domain = $2 AND venue = 'leads')
                """,
                [
                    .timestamp(Timestamp(milliseconds: ProcessTests.origin - 86_400_000 + 360_000)), .text(domain),
                ])
            await connection.close()
            #expect(changed.affectedRows == 1)
            try await stack.runToEnd("graph-builder", ["verify", graph.id], expecting: 1)
        }

        @Test("a slow callee is ranked first as root cause, with its reason")
        func rootCause() async throws {
            struct Answer: Decodable {
                struct Candidate: Decodable { var event: String }
                var ranking: [Candidate]
                var callGraph: String
            }
            let stack = try await Stack.shared()
            let domain = ProcessTests.event("mesh")
            #expect(
                try await stack.put("/v1/domains/\(domain)", #"{"domain":"\#(domain)","bucketMs":60000}"#).status < 300)
            #expect(
                try await stack.put(
                    "/v1/topology",
                    """
                    {"name":"\(domain)","edges":[{"caller":"\(domain)-front","callee":"\(domain)-shop"},
                    {"caller":"\(domain)-shop","callee":"\(domain)-store"}]}
                    """
                ).status < 300)
            var noise = Noise(state: 11)
            var lines: [String] = []
            let end = ProcessTests.origin + 100 * 60_000
            for minute in 0..<100 {
                let time = ProcessTests.origin + Int64(minute) * 60_000 + 1_000
                let broken = minute >= 95
                for (name, latency) in [("front", 0.30), ("shop", 0.20), ("store", 0.10), ("mail", 0.15)] {
                    let slow = broken && name != "mail" ? (name == "store" ? 2.0 : 1.8) : 0
                    lines.append(
                        Stack.line(
                            domain: domain, event: "\(domain)-\(name)", market: "latency", venue: "p90", time: time,
                            value: latency * (1 + 0.05 * noise.next()) + slow))
                    lines.append(
                        Stack.line(
                            domain: domain, event: "\(domain)-\(name)", market: "cpu", venue: "pod", time: time,
                            value: (1 + 0.05 * noise.next()) * (broken && name == "store" ? 6 : 1)))
                }
            }
            #expect(try await stack.observe(lines).status == 200)
            let reply = try await stack.post(
                "/v1/root-causes",
                """
                {"from":\(end - 300_000),"to":\(end),"baselineMinutes":90,"domains":["\(domain)"],"topology":"\(domain)"}
                """)
            #expect(reply.status == 200, "\(reply.text)")
            let answer: Answer = try reply.json()
            #expect(answer.ranking.first?.event == "\(domain)-store", "\(reply.text.prefix(1_000))")
            #expect(answer.callGraph == "declared")
        }

        @Test("graph-builder replay sends a recording through the gateway, and again without doubling anything")
        func replay() async throws {
            let stack = try await Stack.shared()
            let connection = stack.folder + "/connection.json"
            let key = try await stack.key(scopes: Stack.allScopes)
            try #"{"url":"\#(stack.url)","caFile":"\#(stack.caFile)","apiKey":"\#(key)"}"#
                .write(toFile: connection, atomically: true, encoding: .utf8)
            let prefix = ProcessTests.event("replay") + "-"
            let sample = ModuleDependencyTests.root
                .appending(path: "Samples/services-petshop/low_traffic/cases/test-issue_0.csv.gz").path
            let arguments = ["replay", sample, "--connection", connection, "--domain-prefix", prefix, "--batch", "500"]
            let first = try await stack.runToEnd("graph-builder", arguments)
            #expect(first.contains(" 0 duplicates, 0 rejected"), "\(first)")
            let again = try await stack.runToEnd("graph-builder", arguments)
            #expect(again.contains(" 0 rejected"), "\(again)")
            // A damaged file, a wrong address and a key without rights have their own exit codes.
            let cut = stack.folder + "/cut.csv.gz"
            try Data(contentsOf: URL(fileURLWithPath: sample)).prefix(2_000).write(to: URL(fileURLWithPath: cut))
            try await stack.runToEnd("graph-builder", ["replay", cut, "--connection", connection], expecting: 65)
            let reader = try await stack.key(scopes: "read")
            let readerFile = stack.folder + "/reader-key"
            try reader.write(toFile: readerFile, atomically: true, encoding: .utf8)
            try await stack.runToEnd(
                "graph-builder",
                ["replay", sample, "--url", stack.url, "--ca-file", stack.caFile, "--api-key-file", readerFile],
                expecting: 77)
        }
    }
}
