import Foundation
import Model
import ServiceRuntime
import Telemetry

@testable import Gateway

/// What is done with an input. Each target gives faults found: anything that must not be, in words. Wherever there is another
/// reader of the same language (a regular expression, Foundation), both must agree on what they accept.
enum ParserTarget: String, CaseIterable, Sendable {
    case request, answer, chunks, target, credential, token, keySet, callerToken, json, traceParent, traceState,
        address,
        deadline, origin, query

    func faults(_ bytes: [UInt8]) async -> [String] {
        let text = String(decoding: bytes, as: UTF8.self)
        return switch self {
        case .request: MessageFuzz.request(bytes)
        case .answer: MessageFuzz.answer(bytes)
        case .chunks: MessageFuzz.chunks(bytes)
        case .target: Self.target(text)
        case .credential: TokenFuzz.credential(text)
        case .token: await TokenFuzz.token(text)
        case .keySet: await TokenFuzz.keySet(bytes)
        case .callerToken: TokenFuzz.callerToken(text)
        case .json: TokenFuzz.json(bytes)
        case .traceParent: Self.traceParent(text)
        case .traceState: Self.traceState(text)
        case .address: Self.address(text)
        case .deadline: Self.deadline(text)
        case .origin: Self.origin(text)
        case .query: Self.query(text)
        }
    }

    /// Inputs that need a signature and so are made, not kept.
    var madeSeeds: [[UInt8]] {
        switch self {
        case .token: [Array(TokenFuzz.signedToken.utf8)]
        case .callerToken: [Array(TokenFuzz.signedCaller.utf8)]
        case .keySet: [Array(TokenFuzz.forge.keySet.utf8)]
        default: []
        }
    }

    // MARK: Lines

    private static func target(_ text: String) -> [String] {
        guard let (path, query) = try? Target.split(text) else { return [] }
        var faults: [String] = []
        if path + (query.map { "?\($0)" } ?? "") != text { faults.append("\(path) and \(query ?? "") are not \(text)") }
        guard case .route(let route, let parameters) = RouteTable().match(method: "GET", path: path) else {
            return faults
        }
        let segments = path.split(separator: "/").map { $0.removingPercentEncoding ?? "" }
        if segments.contains(where: { [".", "..", ""].contains($0) }) { faults.append("\(path) climbs") }
        for value in parameters.values where !segments.contains(value) {
            faults.append("\(value) stands nowhere in \(path)")
        }
        if let value = route.shardKeyValue(parameters: parameters, query: query), value.utf8.count > text.utf8.count {
            faults.append("\(value) is longer than \(text)")
        }
        return faults
    }

    /// W3C Trace Context, section 3.2.2, as a regular expression.
    private static func traceParent(_ text: String) -> [String] {
        let read = TraceContext(parent: text)
        let isOne =
            text.utf8.count <= 512 && !text.hasPrefix("ff")
            && text.wholeMatch(
                of:
                    /(?:00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}|[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-(?s:.)*)?)/
            ) != nil && (!text.hasPrefix("00") || text.utf8.count == 55)
            && !text.dropFirst(3).hasPrefix(String(repeating: "0", count: 32))
            && !text.dropFirst(36).hasPrefix(String(repeating: "0", count: 16))
        guard let read else { return isOne ? ["refused: \(text)"] : [] }
        guard isOne else { return ["believed: \(text)"] }
        return TraceContext(parent: read.parent) == read ? [] : ["\(read.parent) does not read as \(text)"]
    }

    private static func traceState(_ text: String) -> [String] {
        guard let state = TraceState(header: text) else { return [] }
        var faults: [String] = []
        if TraceState(header: state.header) != state { faults.append("\(state.header) reads otherwise than \(text)") }
        if state.members.count > 32 || Set(state.members.map(\.key)).count != state.members.count {
            faults.append("too many members, or twice the same: \(text)")
        }
        if !state.header.utf8.allSatisfy({ (0x20...0x7E).contains($0) }) { faults.append("unprintable: \(text)") }
        return faults
    }

    private static func address(_ text: String) -> [String] {
        var faults: [String] = []
        if PeerKey.of(text).utf8.count > text.utf8.count + 8 { faults.append("\(PeerKey.of(text)) for \(text)") }
        guard let block = AddressBlock(text) else { return faults }
        let address = String(text.prefix { $0 != "/" })
        if !block.contains(address) { faults.append("\(text) is not in itself") }
        if block.contains("x\(address)") { faults.append("\(text) has what is no address") }
        let peers = [address, "::ffff:\(address)"].filter { !address.contains(":") || $0 == address }
        for peer in peers where !block.contains(peer) { faults.append("\(peer) is not in \(text)") }
        return faults
    }

    private static func deadline(_ text: String) -> [String] {
        let read = try? RequestDeadline.milliseconds(asked: [text], limitMs: 30_000)
        let asked = text.wholeMatch(of: /[0-9]{1,9}/).flatMap { Int($0.output) }.flatMap { $0 >= 1 ? $0 : nil }
        return read == asked.map { min($0, 30_000) } ? [] : ["\(text) is read as \(read ?? 0)"]
    }

    private static func origin(_ text: String) -> [String] {
        guard let origin = CrossOrigin.origin(text) else { return [] }
        let isOne = origin == text && text.wholeMatch(of: /https?:\/\/[a-z0-9.\-:\[\]]+/) != nil
        return isOne ? [] : ["\(text) is taken for an origin"]
    }

    private static func query(_ text: String) -> [String] {
        guard let query = try? QueryParameters(query: text, known: ["eventId", "limit", "layer"]) else { return [] }
        var faults: [String] = []
        let pieces = text.split(separator: "&")
        for name in ["eventId", "limit", "layer"] {
            guard let value = query.text(name) else { continue }
            let given = pieces.filter {
                $0.split(separator: "=", maxSplits: 1).first?.replacing("+", with: " ").removingPercentEncoding == name
            }
            if given.count != 1 { faults.append("\(name) is given \(given.count) times in \(text)") }
            if value.utf8.count > text.utf8.count { faults.append("\(name) is longer than \(text)") }
        }
        if let limit = try? query.integer("limit", in: 1...200, default: 7), !(1...200).contains(limit) {
            faults.append("limit \(limit) of \(text)")
        }
        return faults
    }
}
