import CZlib

/// Unpacks gzip data piece by piece; several members in a row count as one stream, as `gzip -d` reads them.
///
/// Not Sendable: it belongs to the one reader that feeds it.
public final class GzipInflater {
    public enum Failure: Error { case corrupt }

    private var stream = z_stream()
    /// Whether the data so far ends exactly at the end of a member.
    public private(set) var isComplete = true

    public init() throws(Failure) {
        // 16 + 15: gzip wrapper, largest window.
        let status = inflateInit2_(&self.stream, 16 + MAX_WBITS, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        guard status == Z_OK else { throw .corrupt }
    }

    deinit { inflateEnd(&self.stream) }

    /// Unpacks all of `input` and appends it to `output`. The caller bounds memory by feeding small pieces: deflate grows
    /// data at most 1,032 times.
    public func inflate(_ input: [UInt8], into output: inout [UInt8]) throws(Failure) {
        var consumed = 0
        var scratch = [UInt8](repeating: 0, count: 64 << 10)
        while consumed < input.count {
            if self.isComplete {
                inflateReset(&self.stream)
                self.isComplete = false
            }
            let (status, used, produced) = self.step(input: input, from: consumed, scratch: &scratch)
            consumed += used
            output.append(contentsOf: scratch[..<produced])
            switch status {
            case Z_STREAM_END: self.isComplete = true
            case Z_OK: break
            // No progress is possible only when the output is full, and it never is: `scratch` is fresh each step.
            case Z_BUF_ERROR where used > 0 || produced > 0: break
            default: throw .corrupt
            }
        }
    }

    private func step(input: [UInt8], from start: Int, scratch: inout [UInt8]) -> (Int32, used: Int, produced: Int) {
        let capacity = scratch.count
        return input.withUnsafeBufferPointer { source in
            scratch.withUnsafeMutableBufferPointer { target in
                // zlib reads but never writes through `next_in`.
                self.stream.next_in = UnsafeMutablePointer(mutating: source.baseAddress?.advanced(by: start))
                self.stream.avail_in = UInt32(source.count - start)
                self.stream.next_out = target.baseAddress
                self.stream.avail_out = UInt32(capacity)
                let status = CZlib.inflate(&self.stream, Z_NO_FLUSH)
                defer {
                    self.stream.next_in = nil
                    self.stream.next_out = nil
                }
                return (
                    status, source.count - start - Int(self.stream.avail_in), capacity - Int(self.stream.avail_out)
                )
            }
        }
    }
}
