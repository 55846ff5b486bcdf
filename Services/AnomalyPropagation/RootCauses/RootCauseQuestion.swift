import Engine
import Model

/// `POST /v1/root-causes`: what caused what happened in a window?
struct RootCauseQuestion: Decodable, Sendable {
    /// Half-open: after `from`, up to and including `to`.
    let from: Timestamp
    let to: Timestamp
    let baseline: Baseline
    /// Domains that take part; nil: all that are known.
    let domains: [String]?
    let target: RootCauseTarget?
    /// Name of a declared topology; nil: the call series tell the calls, if there are any.
    let topology: String?
    let bucketMs: Int64?
    /// Candidates named at most.
    let limit: Int

    enum Baseline: Hashable, Sendable {
        /// As long right before the window.
        case before(milliseconds: Int64)
        /// A normal period, anywhere.
        case period(after: Timestamp, through: Timestamp)
    }

    static let windowLimitMs: Int64 = 86_400_000
    static let baselineLimitMs: Int64 = 31 * 86_400_000
    static let domainLimit = 100

    private enum Keys: String, CodingKey {
        case from, to, baselineMinutes, baselineFrom, baselineTo, domains, target, topology, bucketMs, limit
    }

    init(from decoder: any Decoder) throws {
        let keyed = try decoder.container(keyedBy: Keys.self)
        self.from = try keyed.decode(Timestamp.self, forKey: .from)
        self.to = try keyed.decode(Timestamp.self, forKey: .to)
        self.domains = try keyed.decodeIfPresent([String].self, forKey: .domains)
        self.target = try keyed.decodeIfPresent(RootCauseTarget.self, forKey: .target)
        self.topology = try keyed.decodeIfPresent(String.self, forKey: .topology)
        self.bucketMs = try keyed.decodeIfPresent(Int64.self, forKey: .bucketMs)
        self.limit = try keyed.decodeIfPresent(Int.self, forKey: .limit) ?? 50
        try Self.check("from", self.from, "to", self.to, limitMs: Self.windowLimitMs, limit: "24 hours")
        let minutes = try keyed.decodeIfPresent(Int64.self, forKey: .baselineMinutes)
        let start = try keyed.decodeIfPresent(Timestamp.self, forKey: .baselineFrom)
        let end = try keyed.decodeIfPresent(Timestamp.self, forKey: .baselineTo)
        switch (minutes, start, end) {
        case (let minutes, nil, nil):
            guard (1...Self.baselineLimitMs / 60_000).contains(minutes ?? 120) else {
                throw ValidationError(
                    field: "baselineMinutes", rule: "must be 1 to \(Self.baselineLimitMs / 60_000)")
            }
            self.baseline = .before(milliseconds: (minutes ?? 120) * 60_000)
        case (nil, let start?, let end?):
            try Self.check(
                "baselineFrom", start, "baselineTo", end, limitMs: Self.baselineLimitMs, limit: "31 days")
            self.baseline = .period(after: start, through: end)
        case (.some, _, _):
            throw ValidationError(
                field: "baselineMinutes", rule: "must not be given together with baselineFrom and baselineTo")
        default:
            throw ValidationError(field: "baselineFrom", rule: "must be given together with baselineTo")
        }
        try self.checkNames()
    }

    private func checkNames() throws(ValidationError) {
        if let domains = self.domains {
            guard (1...Self.domainLimit).contains(domains.count) else {
                throw ValidationError(field: "domains", rule: "must name 1 to \(Self.domainLimit)")
            }
            for domain in domains { try Name.validate(domain, field: "domains") }
        }
        if let target = self.target {
            try Name.validate(target.event, field: "target.event")
            try Name.validate(target.market, field: "target.market")
            try Name.validate(target.venue, field: "target.venue")
        }
        if let topology = self.topology { try Name.validate(topology, field: "topology") }
        guard (1_000...86_400_000).contains(self.bucketMs ?? 60_000) else {
            throw ValidationError(field: "bucketMs", rule: "must be 1000 to 86400000")
        }
        guard (1...1_000).contains(self.limit) else { throw ValidationError(field: "limit", rule: "must be 1 to 1000") }
    }

    private static func check(
        _ startField: String, _ start: Timestamp, _ endField: String, _ end: Timestamp, limitMs: Int64, limit: String
    ) throws(ValidationError) {
        for (field, time) in [(startField, start), (endField, end)] where !time.isRepresentable {
            throw ValidationError(field: field, rule: "must lie between the years 1 and 9999")
        }
        guard end > start else { throw ValidationError(field: endField, rule: "must be after \(startField)") }
        guard end.milliseconds - start.milliseconds <= limitMs else {
            throw ValidationError(field: endField, rule: "must be at most \(limit) after \(startField)")
        }
    }
}
