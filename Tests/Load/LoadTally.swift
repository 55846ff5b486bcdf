import Foundation
import NIOCore

/// What came of the requests, by route.
struct LoadTally: Sendable {
    struct Route: Sendable {
        /// Microseconds from when a request was due, and from when it was sent.
        var sinceDue: [UInt32] = []
        var sinceSent: [UInt32] = []
        var failures: [String: Int] = [:]
    }

    private(set) var routes: [Route]

    init(routeCount: Int) { self.routes = Array(repeating: Route(), count: routeCount) }

    mutating func answered(route: Int, sinceDue: TimeAmount, sinceSent: TimeAmount) {
        self.routes[route].sinceDue.append(UInt32(clamping: sinceDue.nanoseconds / 1_000))
        self.routes[route].sinceSent.append(UInt32(clamping: sinceSent.nanoseconds / 1_000))
    }

    mutating func fail(route: Int, _ reason: String) { self.routes[route].failures[reason, default: 0] += 1 }

    mutating func add(_ other: LoadTally) {
        for index in self.routes.indices {
            self.routes[index].sinceDue += other.routes[index].sinceDue
            self.routes[index].sinceSent += other.routes[index].sinceSent
            self.routes[index].failures.merge(other.routes[index].failures, uniquingKeysWith: +)
        }
    }
}

/// One line of the result; times in milliseconds.
struct LoadFigures: Codable {
    var name: String
    var answered: Int
    var failed: Int
    var p50Ms: Double
    var p95Ms: Double
    var p99Ms: Double
    var p999Ms: Double
    var maxMs: Double
    /// What a client would say that measures from when it sent.
    var p99SinceSentMs: Double
    var failures: [String: Int]

    init(name: String, _ routes: [LoadTally.Route]) {
        let due = routes.flatMap(\.sinceDue).sorted()
        let sent = routes.flatMap(\.sinceSent).sorted()
        func quantile(_ sorted: [UInt32], _ share: Double) -> Double {
            guard !sorted.isEmpty else { return 0 }
            return Double(sorted[min(sorted.count - 1, Int(share * Double(sorted.count)))]) / 1_000
        }
        self.name = name
        self.answered = due.count
        self.failures = routes.reduce(into: [:]) { $0.merge($1.failures, uniquingKeysWith: +) }
        self.failed = self.failures.values.reduce(0, +)
        self.p50Ms = quantile(due, 0.5)
        self.p95Ms = quantile(due, 0.95)
        self.p99Ms = quantile(due, 0.99)
        self.p999Ms = quantile(due, 0.999)
        self.maxMs = quantile(due, 1)
        self.p99SinceSentMs = quantile(sent, 0.99)
    }

    var line: String {
        func pad(_ text: String, _ width: Int) -> String {
            text + String(repeating: " ", count: max(0, width - text.count))
        }
        func ms(_ value: Double) -> String { pad(String(format: "%.2f", value), 9) }
        return pad(self.name, 24) + pad("\(self.answered)", 10) + pad("\(self.failed)", 8)
            + [self.p50Ms, self.p95Ms, self.p99Ms, self.p999Ms, self.maxMs, self.p99SinceSentMs].map(ms).joined()
            + (self.failures.isEmpty ? "" : " \(self.failures)")
    }

    static let header =
        "route                   answered  failed  p50 ms   p95 ms   p99 ms   p99.9    max      p99 since sent"
}
