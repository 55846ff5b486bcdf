/// How close two nodes are. The first rule that applies decides, from the farthest to the nearest.
public enum Layer: Int, CaseIterable, Comparable, Sendable, Codable {
    case direct = 1
    case crossMarket = 2
    case crossEvent = 3
    case crossDomain = 4

    /// The layer of a pair: domains differ -> L4; events differ -> L3; markets differ -> L2; else L1.
    public init(of first: NodeKey, and second: NodeKey) {
        if first.domain != second.domain {
            self = .crossDomain
        } else if first.event != second.event {
            self = .crossEvent
        } else if first.market != second.market {
            self = .crossMarket
        } else {
            self = .direct
        }
    }

    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }

    /// `L1` ... `L4`: the spelling of the API and of metrics.
    public var code: String { "L\(self.rawValue)" }

    public init?(code: String) {
        guard let layer = Self.allCases.first(where: { $0.code == code.uppercased() }) else { return nil }
        self = layer
    }

    /// The default least |r| of an edge: 0.55, 0.65, 0.75, 0.85.
    public var defaultThreshold: Double {
        switch self {
        case .direct: 0.55
        case .crossMarket: 0.65
        case .crossEvent: 0.75
        case .crossDomain: 0.85
        }
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        guard let layer = Layer(code: text) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "expected L1, L2, L3 or L4")
        }
        self = layer
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(self.code)
    }
}
