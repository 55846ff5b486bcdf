import NIOCore

/// Reads one body, however its head frames it (RFC 9112, section 6): by a length, in chunks, or up to the end of the connection.
struct BodyReader: Sendable {
    private enum State: Sendable {
        case length(Int)
        case chunks(ChunkReader)
        case untilClose
    }

    private var state: State

    /// - Parameter length: in bytes; 0: the body is over at once.
    init(length: Int) { self.state = .length(length) }

    private init(_ state: State) { self.state = state }

    static let chunked = BodyReader(.chunks(ChunkReader()))
    static let untilClose = BodyReader(.untilClose)

    /// Whether the end of the connection is the end of the body.
    var endsWithConnection: Bool { if case .untilClose = self.state { true } else { false } }

    /// Whether what is left is within that many bytes; false where that takes reading them.
    func isRestAtHand(_ bytes: Int) -> Bool {
        if case .length(let left) = self.state { bytes >= left } else { false }
    }

    /// Whether nothing more belongs to it.
    var isOver: Bool { if case .length(0) = self.state { true } else { false } }

    mutating func next(_ buffer: inout ByteBuffer) -> ChunkReader.Step {
        switch self.state {
        case .length(0): return .end
        case .length(let left):
            guard let piece = Self.piece(&buffer, atMost: left) else { return .more }
            self.state = .length(left - piece.readableBytes)
            return .data(piece)
        case .chunks(var reader):
            let step = reader.next(&buffer)
            self.state = .chunks(reader)
            return step
        case .untilClose: return Self.piece(&buffer, atMost: .max).map { .data($0) } ?? .more
        }
    }

    private static func piece(_ buffer: inout ByteBuffer, atMost length: Int) -> ByteBuffer? {
        guard buffer.readableBytes > 0 else { return nil }
        return buffer.readSlice(length: min(length, buffer.readableBytes))
    }
}

/// Writes a body in chunks.
enum ChunkFraming {
    static let last = ByteBuffer(staticString: "0\r\n\r\n")
    private static let lineEnd = ByteBuffer(staticString: "\r\n")

    /// Hands out what a piece becomes; an empty one becomes nothing, for it would end the body.
    static func frame(_ piece: ByteBuffer, _ write: (ByteBuffer) -> Void) {
        guard piece.readableBytes > 0 else { return }
        var size = ByteBuffer()
        size.writeString(String(piece.readableBytes, radix: 16))
        size.writeStaticString("\r\n")
        write(size)
        write(piece)
        write(Self.lineEnd)
    }
}

extension ByteBuffer? {
    /// Adds `piece`; the first one is kept as it is. There is no empty buffer to begin with: all empty ones are one object
    /// whose count of owners every event loop would write to.
    mutating func take(_ piece: ByteBuffer) {
        if self == nil { self = piece } else { self?.writeImmutableBuffer(piece) }
    }

    var readableBytes: Int { self?.readableBytes ?? 0 }
}
