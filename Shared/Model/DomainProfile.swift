/// How the observations of one domain become series, and what is declared about its markets.
public struct DomainProfile: Hashable, Sendable, Codable {
    public enum Transform: String, Sendable, Codable {
        case level, difference, logReturn
    }

    public enum Fill: String, Sendable, Codable {
        /// The newest value in the bucket, held over empty buckets.
        case last
        /// The mean of the bucket, held over empty buckets.
        case mean
        /// The sum of the bucket, 0 where empty.
        case sum
    }

    /// What the events of the domain are, for root-cause ranking.
    public enum Role: String, Sendable, Codable {
        /// Something that can be at fault.
        case component
        /// An event named `A_B` is the call from component A to component B.
        case call
        /// Shared by several components: never a candidate.
        case host
        /// What users see: never a candidate.
        case indicator
        /// An address outside, seen by its callers alone: blamed for what no component that they call explains.
        case remote
    }

    public var domain: String
    /// Width of a bucket; nil: the domain's median spacing rounded up to 1-2-5.
    public var bucketMs: Int64?
    /// Buckets of the present window, 30 ... 2,000.
    public var presentBuckets: Int
    /// Buckets of the baseline before it, 0 ... 20,000; full from three times the present on. Left out of a declaration that has
    /// `periodMs` and `bucketMs`: as many as hold the period twice, 720 at least.
    public var baselineBuckets: Int
    /// Lags -lagBuckets ... lagBuckets are tried, 0 ... 64.
    public var lagBuckets: Int
    public var transform: Transform
    public var fill: Fill
    /// How long after its end a bucket stays open for late data; nil: one bucket.
    public var allowedLatenessMs: Int64?
    /// A declared cycle (a day: 86,400,000), 0: none. The residual detector learns it over days; from what links are judged by it
    /// is removed where the baseline holds it twice.
    public var periodMs: Int64
    public var role: Role
    /// Facts by market name; markets that are not named are `local`, bad in both directions.
    public var markets: [String: MarketFacts]

    public init(
        domain: String, bucketMs: Int64? = nil, presentBuckets: Int = 120, baselineBuckets: Int = 720,
        lagBuckets: Int = 5, transform: Transform = .level, fill: Fill = .last, allowedLatenessMs: Int64? = nil,
        periodMs: Int64 = 86_400_000, role: Role = .component, markets: [String: MarketFacts] = [:]
    ) {
        self.domain = domain
        self.bucketMs = bucketMs
        self.presentBuckets = presentBuckets
        self.baselineBuckets = baselineBuckets
        self.lagBuckets = lagBuckets
        self.transform = transform
        self.fill = fill
        self.allowedLatenessMs = allowedLatenessMs
        self.periodMs = periodMs
        self.role = role
        self.markets = markets
    }

    /// Every key but `domain` may be left out and takes its default.
    public init(from decoder: any Decoder) throws {
        let keyed = try decoder.container(keyedBy: CodingKeys.self)
        let plain = DomainProfile(domain: "")
        let domain = try keyed.decodeIfPresent(String.self, forKey: .domain)
        guard domain != "" else {
            throw DecodingError.dataCorruptedError(forKey: .domain, in: keyed, debugDescription: "must not be empty")
        }
        let bucketMs = try keyed.decodeIfPresent(Int64.self, forKey: .bucketMs)
        let periodMs = try keyed.decodeIfPresent(Int64.self, forKey: .periodMs)
        self.init(
            domain: domain ?? "", bucketMs: bucketMs,
            presentBuckets: try keyed.decodeIfPresent(Int.self, forKey: .presentBuckets) ?? plain.presentBuckets,
            baselineBuckets: try keyed.decodeIfPresent(Int.self, forKey: .baselineBuckets)
                ?? Self.baselineBuckets(holdingTwice: periodMs ?? 0, bucketMs: bucketMs ?? 0) ?? plain.baselineBuckets,
            lagBuckets: try keyed.decodeIfPresent(Int.self, forKey: .lagBuckets) ?? plain.lagBuckets,
            transform: try keyed.decodeIfPresent(Transform.self, forKey: .transform) ?? plain.transform,
            fill: try keyed.decodeIfPresent(Fill.self, forKey: .fill) ?? plain.fill,
            allowedLatenessMs: try keyed.decodeIfPresent(Int64.self, forKey: .allowedLatenessMs),
            periodMs: periodMs ?? plain.periodMs,
            role: try keyed.decodeIfPresent(Role.self, forKey: .role) ?? plain.role,
            markets: try keyed.decodeIfPresent([String: MarketFacts].self, forKey: .markets) ?? [:])
    }

    private static let baselineRange: ClosedRange<Int64> = 0...20_000

    /// The baseline from which a period can be removed, where that takes more than the usual one.
    ///
    /// - Returns: nil where the usual one does, or none that is allowed.
    private static func baselineBuckets(holdingTwice periodMs: Int64, bucketMs: Int64) -> Int? {
        guard periodMs > 0, bucketMs > 0, periodMs <= .max / 2 else { return nil }
        let (count, rest) = (2 * periodMs).quotientAndRemainder(dividingBy: bucketMs)
        let buckets = count + (rest > 0 ? 1 : 0)
        guard buckets > DomainProfile(domain: "").baselineBuckets, Self.baselineRange.contains(buckets) else {
            return nil
        }
        return Int(buckets)
    }

    /// - Throws: ``ValidationError`` for the first value out of range.
    public func validate() throws(ValidationError) {
        try Name.validate(self.domain, field: "domain")
        try Self.check("bucketMs", self.bucketMs ?? 1, in: 1...86_400_000)
        try Self.check("presentBuckets", Int64(self.presentBuckets), in: 30...2_000)
        try Self.check("baselineBuckets", Int64(self.baselineBuckets), in: Self.baselineRange)
        try Self.check("lagBuckets", Int64(self.lagBuckets), in: 0...64)
        try Self.check("allowedLatenessMs", self.allowedLatenessMs ?? 0, in: 0...86_400_000)
        try Self.check("periodMs", self.periodMs, in: 0...604_800_000)
        guard self.markets.count <= 1_000 else {
            throw ValidationError(field: "markets", rule: "must be at most 1,000")
        }
        for market in self.markets.keys.sorted() { try Name.validate(market, field: "markets") }
    }

    private static func check(_ field: String, _ value: Int64, in range: ClosedRange<Int64>) throws(ValidationError) {
        guard range.contains(value) else {
            throw ValidationError(field: field, rule: "must be \(range.lowerBound) to \(range.upperBound)")
        }
    }

    /// The declared facts of a market, else the built-in ones for common names, else `local` in both directions.
    public func facts(ofMarket market: String) -> MarketFacts {
        self.markets[market] ?? MarketFacts.builtIn[market] ?? MarketFacts(kind: .local)
    }
}

/// What is declared about a market for root-cause ranking (methods of `docs/engine.md`).
public struct MarketFacts: Hashable, Sendable, Codable {
    public enum Kind: String, Sendable, Codable {
        /// Felt by callers: flows from callee to caller.
        case impact
        /// Spent waiting for those it calls: as `impact` where calls are known, else charged to those it may be calling.
        case waiting
        /// Asked for by callers: flows from caller to callee.
        case load
        /// Stays where it is.
        case local
    }

    public enum BadDirection: String, Sendable, Codable {
        case up, down, both
    }

    public var kind: Kind
    public var bad: BadDirection
    /// Whether values are percent of successes: 100 -> 98 is then large.
    public var isPercentOfSuccesses: Bool

    public init(kind: Kind, bad: BadDirection = .both, isPercentOfSuccesses: Bool = false) {
        self.kind = kind
        self.bad = bad
        self.isPercentOfSuccesses = isPercentOfSuccesses
    }

    public init(from decoder: any Decoder) throws {
        let keyed = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            kind: try keyed.decode(Kind.self, forKey: .kind),
            bad: try keyed.decodeIfPresent(BadDirection.self, forKey: .bad) ?? .both,
            isPercentOfSuccesses: try keyed.decodeIfPresent(Bool.self, forKey: .isPercentOfSuccesses) ?? false)
    }

    /// Facts of common market names, used where a profile declares none.
    public static let builtIn: [String: MarketFacts] = [
        "latency": MarketFacts(kind: .impact, bad: .up),
        "PodServerLatency": MarketFacts(kind: .impact, bad: .up),
        "PodClientLatency": MarketFacts(kind: .waiting, bad: .up),
        "availability": MarketFacts(kind: .impact, bad: .down, isPercentOfSuccesses: true),
        "PodSuccessRate": MarketFacts(kind: .impact, bad: .down, isPercentOfSuccesses: true),
        "PodWorkload": MarketFacts(kind: .load),
        "requests": MarketFacts(kind: .load),
    ]
}
