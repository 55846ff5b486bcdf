import Foundation
import Model
import NIOCore

/// Writes observations as the lines of `POST /v1/observations` (NDJSON), in bounded memory per node.
struct ObservationLines {
    private let domainPrefix: String
    /// `{"domain":..,"venue":..,"time":` of each node, encoded once.
    private var heads: [NodeKey: [UInt8]] = [:]
    private(set) var buffer = ByteBuffer()
    private(set) var count = 0

    init(domainPrefix: String) { self.domainPrefix = domainPrefix }

    mutating func append(_ observation: Observation) throws {
        let head: [UInt8]
        if let known = self.heads[observation.node] {
            head = known
        } else {
            head = try self.head(observation.node)
            self.heads[observation.node] = head
        }
        self.buffer.writeBytes(head)
        self.buffer.writeString("\(observation.time.milliseconds),\"value\":\(observation.value)}\n")
        self.count += 1
    }

    /// The lines so far; starts anew.
    mutating func take() -> ByteBuffer {
        let taken = self.buffer
        self.buffer = ByteBuffer()
        self.count = 0
        return taken
    }

    private func head(_ node: NodeKey) throws -> [UInt8] {
        func quoted(_ text: String) throws -> String {
            String(decoding: try JSONEncoder().encode(text), as: UTF8.self)
        }
        return Array(
            """
            {"domain":\(try quoted(self.domainPrefix + node.domain)),"event":\(try quoted(node.event)),\
            "market":\(try quoted(node.market)),"venue":\(try quoted(node.venue)),"time":
            """.utf8)
    }
}
