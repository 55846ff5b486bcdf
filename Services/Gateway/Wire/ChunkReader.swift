import NIOCore

/// Reads a body in chunked coding (RFC 9112, section 7.1), strictly; extensions and trailers are read over.
struct ChunkReader: Sendable {
    enum Step: Sendable {
        case more
        case data(ByteBuffer)
        case end
        case refused
    }

    /// Longest line of a chunk, and all trailers together, in bytes.
    static let lineLimit = 256
    static let trailerLimit = 4_096

    private enum State: Sendable { case size, data(Int), dataEnd, trailer, ended }

    private var state = State.size
    private var trailerBytes = 0

    mutating func next(_ buffer: inout ByteBuffer) -> Step {
        while true {
            switch self.state {
            case .size:
                switch Self.line(&buffer, limit: Self.lineLimit) {
                case .none: return .more
                case .some(.none): return .refused
                case .some(.some(let line)):
                    guard let size = Self.size(line) else { return .refused }
                    self.state = size == 0 ? .trailer : .data(size)
                }
            case .data(let left):
                guard let piece = buffer.readSlice(length: min(left, buffer.readableBytes)), piece.readableBytes > 0
                else { return .more }
                self.state = left == piece.readableBytes ? .dataEnd : .data(left - piece.readableBytes)
                return .data(piece)
            case .dataEnd:
                guard buffer.readableBytes >= 2 else { return .more }
                guard buffer.readInteger(as: UInt16.self) == 0x0D0A else { return .refused }
                self.state = .size
            case .trailer:
                switch Self.line(&buffer, limit: Self.trailerLimit) {
                case .none: return .more
                case .some(.none): return .refused
                case .some(.some(let line)):
                    self.trailerBytes += line.count + 2
                    guard self.trailerBytes <= Self.trailerLimit else { return .refused }
                    if line.isEmpty { self.state = .ended }
                }
            case .ended:
                return .end
            }
        }
    }

    /// nil: not there yet; nil inside: too long or not ended by CR LF.
    private static func line(_ buffer: inout ByteBuffer, limit: Int) -> [UInt8]?? {
        let view = buffer.readableBytesView.prefix(limit + 2)
        guard let feed = view.firstIndex(of: 0x0A) else {
            return view.count > limit ? .some(nil) : .none
        }
        let count = feed - view.startIndex
        guard count >= 1, view[feed - 1] == 0x0D, let bytes = buffer.readBytes(length: count + 1) else {
            return .some(nil)
        }
        let line = Array(bytes.dropLast(2))
        return line.allSatisfy(HTTPBytes.isValue) ? .some(line) : .some(nil)
    }

    /// One to eight hexadecimal digits, then nothing or an extension.
    private static func size(_ line: [UInt8]) -> Int? {
        var size = 0
        var digits = 0
        for byte in line {
            switch byte {
            case 0x30...0x39: size = size << 4 | Int(byte - 0x30)
            case 0x41...0x46: size = size << 4 | Int(byte - 0x41 + 10)
            case 0x61...0x66: size = size << 4 | Int(byte - 0x61 + 10)
            case 0x3B, 0x20, 0x09: return digits > 0 ? size : nil
            default: return nil
            }
            digits += 1
            guard digits <= 8 else { return nil }
        }
        return digits > 0 ? size : nil
    }
}
