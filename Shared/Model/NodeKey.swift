import Crypto
import Foundation

/// The name of one time series: who quotes (venue) which quantity (market) of what (event) in which group (domain).
public struct NodeKey: Hashable, Sendable, Codable {
    public let domain: String
    public let event: String
    public let market: String
    public let venue: String

    /// For names that were validated before: rows of our own tables, literals in tests.
    public init(domain: String, event: String, market: String, venue: String) {
        self.domain = domain
        self.event = event
        self.market = market
        self.venue = venue
    }

    /// For names from outside.
    /// - Throws: ``ValidationError`` naming the first field that breaks the rule of ``Name``.
    public init(validatingDomain domain: String, event: String, market: String, venue: String) throws(ValidationError) {
        try Name.validate(domain, field: "domain")
        try Name.validate(event, field: "event")
        try Name.validate(market, field: "market")
        try Name.validate(venue, field: "venue")
        self.init(domain: domain, event: event, market: market, venue: venue)
    }

    /// `domain|event|market|venue`, for people and logs.
    public var display: String { "\(self.domain)|\(self.event)|\(self.market)|\(self.venue)" }

    /// The number all tables know this node by: the first eight bytes of SHA-256 over the four names joined by the byte
    /// 0x1F (which no name may contain), so every process computes it alone and ingest needs no look-up before COPY.
    /// `nodes` keeps names unique and ids unique, so a collision is refused instead of merged.
    public var id: NodeID {
        var hash = SHA256()
        for (index, part) in [self.domain, self.event, self.market, self.venue].enumerated() {
            if index > 0 { hash.update(data: [0x1F]) }
            hash.update(data: Array(part.utf8))
        }
        return NodeID(rawValue: hash.finalize().prefix(8).reduce(Int64(0)) { $0 << 8 | Int64($1) })
    }
}

extension NodeKey: Comparable {
    /// By the bytes of the names, the same on every machine and in every locale.
    public static func < (left: Self, right: Self) -> Bool {
        if left.domain != right.domain { return Self.precedes(left.domain, right.domain) }
        if left.event != right.event { return Self.precedes(left.event, right.event) }
        if left.market != right.market { return Self.precedes(left.market, right.market) }
        return Self.precedes(left.venue, right.venue)
    }

    private static func precedes(_ left: String, _ right: String) -> Bool {
        left.utf8.lexicographicallyPrecedes(right.utf8)
    }
}

/// ``NodeKey/id``: stable across processes, restarts and databases.
public struct NodeID: RawRepresentable, Hashable, Comparable, Sendable, Codable {
    public let rawValue: Int64
    public init(rawValue: Int64) { self.rawValue = rawValue }
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

/// The rule every name obeys: 1 to 128 characters of printable UTF-8 in normal form C, no control characters.
///
/// The normal form matters: Swift compares texts by canonical equivalence, the hash behind ``NodeKey/id`` and the database by
/// bytes. Two spellings of one text would be one node here and two there.
public enum Name {
    public static let lengthLimit = 128

    public static func validate(_ text: String, field: String) throws(ValidationError) {
        // Nearly every name is short printable ASCII, and this runs for every observation.
        if (1...Self.lengthLimit).contains(text.utf8.count), text.utf8.allSatisfy({ (0x20...0x7E).contains($0) }) {
            return
        }
        // A character may be many scalars: bound the bytes first, so that counting is cheap.
        guard !text.isEmpty, text.utf8.count <= 4 * Self.lengthLimit, text.unicodeScalars.count <= Self.lengthLimit
        else {
            throw ValidationError(field: field, rule: "must be 1 to \(Self.lengthLimit) characters")
        }
        for scalar in text.unicodeScalars {
            switch scalar.properties.generalCategory {
            case .control, .format, .surrogate, .lineSeparator, .paragraphSeparator, .unassigned, .privateUse:
                throw ValidationError(field: field, rule: "must not contain control or unprintable characters")
            default: continue
            }
        }
        guard text.precomposedStringWithCanonicalMapping.utf8.elementsEqual(text.utf8) else {
            throw ValidationError(field: field, rule: "must be in Unicode normal form C")
        }
    }
}

/// An event belongs to one of 64 shards; a shard has one owner at a time.
public struct Shard: RawRepresentable, Hashable, Comparable, Sendable, Codable {
    public static let count = 64
    /// 0 ..< 64.
    public let rawValue: Int

    public init(rawValue: Int) {
        precondition((0..<Self.count).contains(rawValue), "a shard is a number below \(Self.count)")
        self.rawValue = rawValue
    }

    /// SHA-256 of the event id, its first byte modulo 64: even and the same in every process.
    public init(event: String) {
        var first: UInt8 = 0
        for byte in SHA256.hash(data: Array(event.utf8)).prefix(1) { first = byte }
        self.init(rawValue: Int(first) % Self.count)
    }

    public static let all: [Shard] = (0..<Self.count).map(Shard.init(rawValue:))
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}
