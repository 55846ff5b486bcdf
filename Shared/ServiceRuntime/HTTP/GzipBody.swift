import CZlib
import HummingbirdCore
import Model
import NIOCore

/// gzip bodies, bounded in size and in ratio: a small body must not become a large one in memory.
public enum GzipBody {
    /// Most output bytes per input byte beyond the first MiB; JSON of observations compresses 10 to 40 times.
    public static let ratioLimit = 200

    /// - Throws: `Problem` 413 beyond `limit` or the ratio, 400 for damaged or truncated data.
    public static func inflate(_ body: ByteBuffer, limit: Int) throws(Problem) -> ByteBuffer {
        var stream = z_stream()
        // 15 window bits, + 16: gzip only.
        guard
            inflateInit2_(&stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK
        else { throw Problem(.internalError, detail: "the body could not be decompressed") }
        defer { inflateEnd(&stream) }
        let bound = min(limit, max(1 << 20, body.readableBytes * Self.ratioLimit))
        var output = ByteBuffer()
        var input = Array(body.readableBytesView)
        var chunk = [UInt8](repeating: 0, count: 65_536)
        var status = Z_OK
        var isTooLarge = false
        input.withUnsafeMutableBufferPointer { input in
            stream.next_in = input.baseAddress
            stream.avail_in = UInt32(input.count)
            while status == Z_OK {
                let produced = chunk.withUnsafeMutableBufferPointer { chunk in
                    stream.next_out = chunk.baseAddress
                    stream.avail_out = UInt32(chunk.count)
                    status = CZlib.inflate(&stream, Z_NO_FLUSH)
                    return chunk.count - Int(stream.avail_out)
                }
                output.writeBytes(chunk[..<produced])
                if output.readableBytes > bound {
                    isTooLarge = true
                    return
                }
                // One gzip member may follow another.
                if status == Z_STREAM_END, stream.avail_in > 0 { status = inflateReset(&stream) }
            }
        }
        if isTooLarge { throw Request.tooLarge(bound) }
        guard status == Z_STREAM_END else {
            throw Problem(.malformedBody, detail: "the gzip body is damaged or ends too early")
        }
        return output
    }
}
