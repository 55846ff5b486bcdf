import CZlib
import Model

/// Inflates a gzip body (RFC 1952, several members allowed) piece by piece, with bounds on size and ratio.
///
/// Not Sendable and used by one request at a time. zlib keeps a pointer to its stream, so the stream lives at one address.
final class GzipInflater {
    /// Bytes after inflation.
    let limit: Int
    /// Inflated bytes per compressed byte beyond which a body counts as an attack; looked at beyond 1 MiB.
    static let ratioLimit = 200
    private static let pieceSize = 65_536

    private let stream: UnsafeMutablePointer<z_stream>
    private let output: UnsafeMutablePointer<UInt8>
    private var received = 0
    private var produced = 0
    /// The last member was complete and nothing has come since.
    private var isAtMemberEnd = false

    init(limit: Int) throws(Problem) {
        self.limit = limit
        self.stream = .allocate(capacity: 1)
        self.stream.initialize(to: z_stream())
        self.output = .allocate(capacity: Self.pieceSize)
        // 15 bits of window, and 16 for the gzip header.
        let code = inflateInit2_(self.stream, 15 + 16, ZLIB_VERSION, CInt(MemoryLayout<z_stream>.size))
        guard code == Z_OK else { throw Problem(.internalError, detail: "The body could not be inflated.") }
    }

    deinit {
        inflateEnd(self.stream)
        self.stream.deallocate()
        self.output.deallocate()
    }

    /// Takes a piece of the compressed body and hands out what it inflates to.
    func feed(
        _ bytes: UnsafeBufferPointer<UInt8>, _ take: (UnsafeBufferPointer<UInt8>) throws(Problem) -> Void
    ) throws(Problem) {
        guard !bytes.isEmpty else { return }
        self.received += bytes.count
        self.stream.pointee.next_in = UnsafeMutablePointer(mutating: bytes.baseAddress)
        self.stream.pointee.avail_in = UInt32(bytes.count)
        repeat {
            if self.isAtMemberEnd {
                guard self.stream.pointee.avail_in > 0 else { return }
                inflateReset(self.stream)
                self.isAtMemberEnd = false
            }
            self.stream.pointee.next_out = self.output
            self.stream.pointee.avail_out = UInt32(Self.pieceSize)
            let code = inflate(self.stream, Z_NO_FLUSH)
            // Z_BUF_ERROR: more input is needed, which is no error.
            guard code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR else {
                throw Problem(.malformedBody, detail: "The body is not valid gzip.")
            }
            self.isAtMemberEnd = code == Z_STREAM_END
            let count = Self.pieceSize - Int(self.stream.pointee.avail_out)
            self.produced += count
            try self.checkBounds()
            if count > 0 { try take(UnsafeBufferPointer(start: self.output, count: count)) }
        } while self.stream.pointee.avail_in > 0 || self.stream.pointee.avail_out == 0
    }

    /// - Throws: a `malformed-body` problem when the last member is incomplete.
    func finish() throws(Problem) {
        guard self.isAtMemberEnd else { throw Problem(.malformedBody, detail: "The gzip body is cut off.") }
    }

    private func checkBounds() throws(Problem) {
        guard self.produced <= self.limit else {
            throw Problem(.bodyTooLarge, detail: "The body inflates to more than \(self.limit) bytes.")
        }
        guard self.produced <= 1 << 20 || self.produced / Self.ratioLimit <= self.received else {
            throw Problem(
                .bodyTooLarge, detail: "The body inflates to more than \(Self.ratioLimit) times its size.")
        }
    }
}
