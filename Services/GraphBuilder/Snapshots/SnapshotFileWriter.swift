import CZlib
import Crypto
import Foundation
import Glibc

/// Writes one gzip file, summing what goes to the disk.
///
/// Unchecked, because the compiler cannot see it: the thread of the connection calls ``write(_:)`` while a COPY runs, and whoever
/// started the COPY waits for its end before calling ``finish()``. So no two calls ever overlap.
final class SnapshotFileWriter: @unchecked Sendable {
    struct Outcome: Sendable {
        var bytes: Int
        var unpackedBytes: Int
        var sha256: String
    }

    private static let pieceSize = 262_144
    private let path: String
    private let descriptor: CInt
    /// zlib keeps a pointer to its stream, so the stream lives at one address.
    private let stream: UnsafeMutablePointer<z_stream>
    private var output = [UInt8](repeating: 0, count: pieceSize)
    private var hash = SHA256()
    private var bytes = 0
    private var unpackedBytes = 0

    /// - Throws: ``SnapshotError`` of kind storage; also when the file exists.
    init(path: String) throws(SnapshotError) {
        self.path = path
        self.descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        let problem = errno
        self.stream = .allocate(capacity: 1)
        self.stream.initialize(to: z_stream())
        // 15 bits of window, and 16 for the gzip header; level 6 is where more time stops to pay.
        let code = deflateInit2_(
            self.stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, CInt(MemoryLayout<z_stream>.size))
        guard self.descriptor >= 0 else { throw Self.failure(path, problem) }
        guard code == Z_OK else { throw SnapshotError(.storage, "\(path): no memory to compress with") }
    }

    deinit {
        deflateEnd(self.stream)
        self.stream.deallocate()
        if self.descriptor >= 0 { close(self.descriptor) }
    }

    func write(_ bytes: UnsafeRawBufferPointer) throws(SnapshotError) {
        self.unpackedBytes += bytes.count
        try self.deflate(bytes, flush: Z_NO_FLUSH)
    }

    /// Ends the file and puts it on the disk for good.
    func finish() throws(SnapshotError) -> Outcome {
        try self.deflate(UnsafeRawBufferPointer(start: nil, count: 0), flush: Z_FINISH)
        guard fsync(self.descriptor) == 0 else { throw Self.failure(self.path, errno) }
        return Outcome(
            bytes: self.bytes, unpackedBytes: self.unpackedBytes, sha256: SnapshotFiles.hex(self.hash.finalize()))
    }

    private func deflate(_ bytes: UnsafeRawBufferPointer, flush: CInt) throws(SnapshotError) {
        // zlib reads but never writes through `next_in`.
        self.stream.pointee.next_in = UnsafeMutablePointer(
            mutating: bytes.baseAddress?.assumingMemoryBound(to: UInt8.self))
        self.stream.pointee.avail_in = UInt32(bytes.count)
        var produced = Self.pieceSize
        while produced == Self.pieceSize {
            let code = self.output.withUnsafeMutableBufferPointer { buffer in
                self.stream.pointee.next_out = buffer.baseAddress
                self.stream.pointee.avail_out = UInt32(Self.pieceSize)
                return CZlib.deflate(self.stream, flush)
            }
            guard code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR else {
                throw SnapshotError(.storage, "\(self.path): compression failed with \(code)")
            }
            produced = Self.pieceSize - Int(self.stream.pointee.avail_out)
            guard produced > 0 else { return }
            let piece = self.output[..<produced]
            try self.put(piece)
            self.hash.update(data: piece)
            self.bytes += produced
        }
    }

    private func put(_ bytes: ArraySlice<UInt8>) throws(SnapshotError) {
        var rest = bytes
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(self.descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw Self.failure(self.path, errno) }
            rest = rest.dropFirst(count)
        }
    }

    static func failure(_ path: String, _ code: CInt) -> SnapshotError {
        SnapshotError(.storage, "\(path): \(String(cString: strerror(code)))")
    }
}
