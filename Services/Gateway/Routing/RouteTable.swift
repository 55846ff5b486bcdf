import Model

/// Finds the ``APIRoute`` of a request.
struct RouteTable: Sendable {
    enum Match: Hashable, Sendable {
        case route(APIRoute, parameters: [String: String])
        /// The path exists with these methods only.
        case otherMethods([String])
        case none
        /// The path is not one that a URL may have.
        case malformed
    }

    /// Longest path and query read, in bytes.
    static let lengthLimit = 8_192

    private struct Template: Sendable {
        let segments: [String]
        let route: APIRoute
    }

    private let plain: [String: [APIRoute]]
    private let templates: [Int: [Template]]

    init(routes: [APIRoute] = APIRoute.all) {
        var plain: [String: [APIRoute]] = [:]
        var templates: [Int: [Template]] = [:]
        for route in routes {
            if route.path.contains("{") {
                let segments = route.path.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
                templates[segments.count, default: []].append(Template(segments: segments, route: route))
            } else {
                plain[route.path, default: []].append(route)
            }
        }
        self.plain = plain
        self.templates = templates
    }

    /// - Parameter path: as sent, percent-encoded, without the query.
    func match(method: String, path: String) -> Match {
        if let routes = self.plain[path] {
            for route in routes where route.method.rawValue == method { return .route(route, parameters: [:]) }
            return .otherMethods(routes.map(\.method.rawValue).sorted())
        }
        guard Self.isWellFormed(path) else { return .malformed }
        let segments = path.split(separator: "/", omittingEmptySubsequences: false)
        guard let candidates = self.templates[segments.count] else { return .none }
        var matches: [(APIRoute, [String: String])] = []
        for candidate in candidates {
            switch Self.parameters(of: candidate.segments, in: segments) {
            case .some(.some(let parameters)): matches.append((candidate.route, parameters))
            case .some(.none): return .malformed
            case .none: continue
            }
        }
        return matches.isEmpty ? .none : Self.pick(matches, method: method)
    }

    private static func pick(_ matches: [(APIRoute, [String: String])], method: String) -> Match {
        for (route, parameters) in matches where route.method.rawValue == method {
            return .route(route, parameters: parameters)
        }
        return .otherMethods(matches.map { $0.0.method.rawValue }.sorted())
    }

    /// nil: another path; nil inside: a parameter that cannot be decoded.
    private static func parameters(of template: [String], in segments: [Substring]) -> [String: String]?? {
        var parameters: [String: String] = [:]
        for (expected, given) in zip(template, segments) {
            if expected.hasPrefix("{"), expected.hasSuffix("}") {
                guard !given.isEmpty else { return .none }
                guard let decoded = PercentDecoding.decode(given) else { return .some(.none) }
                parameters[String(expected.dropFirst().dropLast())] = decoded
            } else if expected != given {
                return .none
            }
        }
        return .some(.some(parameters))
    }

    /// Starts with a slash, has only visible ASCII, and no segment that another reader would resolve (`.`, `..`).
    static func isWellFormed(_ path: String) -> Bool {
        guard path.utf8.first == UInt8(ascii: "/"), path.utf8.count <= Self.lengthLimit,
            path.utf8.allSatisfy({ (0x21...0x7E).contains($0) && $0 != 0x5C && $0 != 0x23 })
        else { return false }
        return path.split(separator: "/").allSatisfy { segment in
            let plain = segment.lowercased().split(separator: "%2e", omittingEmptySubsequences: false)
                .joined(separator: ".")
            return plain != "." && plain != ".."
        }
    }
}

/// `%41` to `A`, strictly.
enum PercentDecoding {
    /// - Returns: nil for an incomplete or wrong escape and for bytes that are not UTF-8.
    static func decode(_ text: some StringProtocol, plusIsSpace: Bool = false) -> String? {
        var bytes: [UInt8] = []
        var iterator = text.utf8.makeIterator()
        while let byte = iterator.next() {
            switch byte {
            case UInt8(ascii: "%"):
                guard let high = iterator.next().flatMap(Self.digit), let low = iterator.next().flatMap(Self.digit)
                else { return nil }
                bytes.append(high << 4 | low)
            case UInt8(ascii: "+") where plusIsSpace: bytes.append(0x20)
            default: bytes.append(byte)
            }
        }
        return String(validating: bytes, as: UTF8.self)
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x41 + 10
        case 0x61...0x66: byte - 0x61 + 10
        default: nil
        }
    }
}

extension APIRoute {
    /// The event id that decides which replica answers best; nil when the route has none or the request does not name it
    /// in a readable way (the service will say so).
    func shardKeyValue(parameters: [String: String], query: Substring?) -> String? {
        switch self.shardKey {
        case .none: return nil
        case .segment(let name): return parameters[name]
        case .query(let name):
            for pair in query?.split(separator: "&", maxSplits: 64) ?? [] {
                let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                guard parts.count == 2, parts[0] == name else { continue }
                return PercentDecoding.decode(parts[1], plusIsSpace: true)
            }
            return nil
        }
    }
}
