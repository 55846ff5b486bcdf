import HummingbirdCore
import Model
import NIOCore

/// Carries a request body from the client's connection to the upstream client, counting as it goes.
///
/// The connection's stream allows one reader at a time, and the upstream client may hang on to the body it was given
/// after it has failed. So only this relay reads the connection, and it has certainly stopped when ``stop(_:)`` returns.
final class BodyRelay: Sendable {
    /// What the upstream client reads.
    let body = BodyHandoff()
    private let pump: Task<Bool, Never>

    /// - Parameter limit: bytes after which the exchange is interrupted.
    init(reading source: RequestBody, limit: Int, exchange: Exchange) {
        let body = self.body
        self.pump = Task {
            do {
                try await Self.carry(source, to: body, limit: limit, exchange: exchange)
                body.finish()
                return true
            } catch {
                body.finish(error)
                return false
            }
        }
    }

    private static func carry(
        _ source: RequestBody, to body: BodyHandoff, limit: Int, exchange: Exchange
    ) async throws {
        var received = 0
        var iterator = source.makeAsyncIterator()
        defer { exchange.endWaitingForBody() }
        while true {
            exchange.beginWaitingForBody()
            guard let piece = try await iterator.next() else { break }
            exchange.endWaitingForBody()
            received += piece.readableBytes
            guard received <= limit else {
                exchange.interrupt(.bodyTooLarge(limit: limit))
                throw BodyPolicy.tooLarge(limit)
            }
            guard await body.send(piece) else { throw CancellationError() }
        }
        // A cancelled reader also sees an end: that is no complete body.
        try Task.checkCancellation()
    }

    /// Stops reading. When the body had not come in whole, the connection cannot be used again.
    func stop(_ exchange: Exchange) async {
        self.pump.cancel()
        self.body.shut()
        if await !self.pump.value { exchange.closeAfterResponse() }
    }

    /// Reads a body of at most `limit` bytes into memory.
    static func collect(_ source: RequestBody, limit: Int, exchange: Exchange) async throws -> ByteBuffer {
        var whole = ByteBuffer()
        var iterator = source.makeAsyncIterator()
        exchange.beginWaitingForBody()
        defer { exchange.endWaitingForBody() }
        while let piece = try await iterator.next() {
            guard whole.readableBytes + piece.readableBytes <= limit else {
                exchange.interrupt(.bodyTooLarge(limit: limit))
                throw BodyPolicy.tooLarge(limit)
            }
            whole.writeImmutableBuffer(piece)
            exchange.beginWaitingForBody()
        }
        try Task.checkCancellation()
        return whole
    }
}
