import Foundation

/// Lines of a plain or gzip file (told by its first two bytes), one at a time, in bounded memory.
///
/// Not Sendable: one task reads one file.
final class LineReader {
    /// Longest line; a longer one is an error, so a file without line ends cannot fill the memory.
    static let lengthLimit = 64 << 10
    private static let pieceSize = 16 << 10

    let path: String
    private let file: FileHandle
    private var inflater: GzipInflater?
    private var buffer: [UInt8] = []
    private var position = 0
    /// Bytes of the file read so far, packed ones if it is packed.
    private(set) var bytesRead = 0
    private var atEnd = false
    /// Number of the line returned last, from 1.
    private(set) var line = 0

    init(path: String) throws(RecordingError) {
        self.path = path
        do {
            self.file = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
        } catch {
            throw RecordingError(path: path, reason: .unreadable("no such file, or no permission"))
        }
        let first = try self.piece()
        if first.starts(with: [0x1F, 0x8B]) {
            do throws(GzipInflater.Failure) {
                self.inflater = try GzipInflater()
            } catch {
                throw RecordingError(path: path, reason: .unreadable("zlib does not start"))
            }
        }
        try self.append(first)
    }

    deinit { try? self.file.close() }

    /// The next line without its line end; nil at the end of the file.
    func next() throws(RecordingError) -> ArraySlice<UInt8>? {
        var searched = self.position
        while true {
            if let end = self.buffer[searched...].firstIndex(of: 0x0A) {
                let line = self.buffer[self.position..<end]
                self.position = end + 1
                return try self.counted(line)
            }
            searched = self.buffer.count
            if self.atEnd {
                guard self.position < self.buffer.count else { return nil }
                let line = self.buffer[self.position...]
                self.position = self.buffer.count
                return try self.counted(line)
            }
            guard self.buffer.count - self.position <= Self.lengthLimit else { throw self.tooLong() }
            searched -= self.position
            self.buffer.removeFirst(self.position)
            self.position = 0
            try self.append(try self.piece())
        }
    }

    private func counted(_ line: ArraySlice<UInt8>) throws(RecordingError) -> ArraySlice<UInt8> {
        guard line.count <= Self.lengthLimit else { throw self.tooLong() }
        self.line += 1
        return line.last == 0x0D ? line.dropLast() : line
    }

    private func tooLong() -> RecordingError {
        RecordingError(
            path: self.path,
            reason: .row(line: self.line + 1, rule: "the line is longer than \(Self.lengthLimit) bytes"))
    }

    private func piece() throws(RecordingError) -> [UInt8] {
        do {
            let piece = [UInt8](try self.file.read(upToCount: Self.pieceSize) ?? Data())
            self.bytesRead += piece.count
            return piece
        } catch {
            throw RecordingError(path: self.path, reason: .unreadable("reading failed at byte \(self.bytesRead)"))
        }
    }

    private func append(_ piece: [UInt8]) throws(RecordingError) {
        guard let inflater = self.inflater else {
            self.atEnd = piece.isEmpty
            self.buffer.append(contentsOf: piece)
            return
        }
        guard !piece.isEmpty else {
            guard inflater.isComplete else {
                throw RecordingError(path: self.path, reason: .truncated(offset: self.bytesRead))
            }
            self.atEnd = true
            return
        }
        do throws(GzipInflater.Failure) {
            try inflater.inflate(piece, into: &self.buffer)
        } catch {
            throw RecordingError(path: self.path, reason: .corrupt(offset: self.bytesRead - piece.count))
        }
    }
}
