import AsyncHTTPClient
import NIOCore

/// Carries a streaming answer from a service to a client, piece by piece as the client takes them, and can be stopped
/// from outside while it waits for the service.
final class AnswerStream: Sendable {
    private let handoff = BodyHandoff()
    private let pump: Task<Void, Never>

    init(_ body: HTTPClientResponse.Body) {
        let handoff = self.handoff
        self.pump = Task {
            do {
                for try await piece in body {
                    guard await handoff.send(piece) else { return }
                }
                handoff.finish()
            } catch {
                handoff.finish(error)
            }
        }
    }

    deinit { self.stop() }

    func stop() {
        self.pump.cancel()
        self.handoff.shut()
    }

    /// The next piece; nil after the last one.
    func next() async throws -> ByteBuffer? { try await self.handoff.receive() }
}
