import NIOCore
import Synchronization

/// Passes the pieces of a body from one task to another with room for one: the producer waits for the consumer.
///
/// Unlike a stream it can be shut from outside at any time, and then neither side waits any longer. One consumer, one
/// producer.
final class BodyHandoff: AsyncSequence, Sendable {
    typealias Element = ByteBuffer

    private struct State {
        var slot: ByteBuffer?
        /// A piece whose producer waits for room.
        var pending: (ByteBuffer, CheckedContinuation<Bool, Never>)?
        var consumer: CheckedContinuation<ByteBuffer?, any Error>?
        var end: Result<Void, any Error>?
    }

    private let state = Mutex(State())

    /// Hands over one piece; returns when there is room for the next.
    /// - Returns: false when no one will read it.
    func send(_ piece: ByteBuffer) async -> Bool {
        await withCheckedContinuation { continuation in
            self.state.withLock { state in
                if state.end != nil {
                    continuation.resume(returning: false)
                } else if let consumer = state.consumer {
                    state.consumer = nil
                    consumer.resume(returning: piece)
                    continuation.resume(returning: true)
                } else if state.slot == nil {
                    state.slot = piece
                    continuation.resume(returning: true)
                } else {
                    state.pending = (piece, continuation)
                }
            }
        }
    }

    /// The body is complete, or has failed with `error`; pieces on their way are still delivered.
    func finish(_ error: (any Error)? = nil) {
        self.state.withLock { state in
            guard state.end == nil else { return }
            state.end = error.map { .failure($0) } ?? .success(())
            guard let consumer = state.consumer else { return }
            state.consumer = nil
            if let error { consumer.resume(throwing: error) } else { consumer.resume(returning: nil) }
        }
    }

    /// Nothing more will be read or delivered; both sides return at once.
    func shut() {
        self.state.withLock { state in
            if state.end == nil { state.end = .failure(CancellationError()) }
            state.slot = nil
            state.pending?.1.resume(returning: false)
            state.pending = nil
            state.consumer?.resume(throwing: CancellationError())
            state.consumer = nil
        }
    }

    /// The next piece; nil after the last one.
    func receive() async throws -> ByteBuffer? {
        try await withCheckedThrowingContinuation { continuation in
            self.state.withLock { state in
                if let piece = state.slot {
                    state.slot = state.pending?.0
                    state.pending?.1.resume(returning: true)
                    state.pending = nil
                    continuation.resume(returning: piece)
                } else if let end = state.end {
                    continuation.resume(with: end.map { nil })
                } else {
                    state.consumer = continuation
                }
            }
        }
    }

    func makeAsyncIterator() -> Iterator { Iterator(handoff: self) }

    struct Iterator: AsyncIteratorProtocol {
        fileprivate let handoff: BodyHandoff
        mutating func next() async throws -> ByteBuffer? { try await self.handoff.receive() }
    }
}
