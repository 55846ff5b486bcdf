import Crypto
import Foundation
import Glibc
import Recordings

/// Reading and checking the files of a snapshot.
enum SnapshotFiles {
    static let pieceSize = 262_144
    /// A manifest is some kilobytes; anything larger is none.
    static let manifestLimit = 4 << 20

    static func hex(_ digest: some Sequence<UInt8>) -> String {
        digest.map { byte in
            let text = String(byte, radix: 16)
            return text.count == 1 ? "0" + text : text
        }.joined()
    }

    /// Reads the manifest of a snapshot and checks it against the sums beside it.
    static func manifest(in folder: String, id: String) throws(SnapshotError) -> SnapshotManifest {
        let path = "\(folder)/\(SnapshotManifest.fileName)"
        guard let data = FileManager.default.contents(atPath: path), data.count <= Self.manifestLimit else {
            throw SnapshotError(.damaged, "\(id): there is no manifest")
        }
        let manifest = try SnapshotManifest(encoded: data, id: id)
        let sums = FileManager.default.contents(atPath: "\(folder)/\(SnapshotManifest.sumsName)") ?? Data()
        guard String(decoding: sums, as: UTF8.self) == Self.sums(manifest, manifestSum: Self.sum(data)) else {
            throw SnapshotError(.damaged, "\(id): \(SnapshotManifest.sumsName) and the manifest do not agree")
        }
        return manifest
    }

    static func sum(_ data: Data) -> String { Self.hex(SHA256.hash(data: data)) }

    /// The text of ``SnapshotManifest/sumsName``.
    static func sums(_ manifest: SnapshotManifest, manifestSum: String) -> String {
        (manifest.files.map { "\($0.sha256)  \($0.name)\n" } + ["\(manifestSum)  \(SnapshotManifest.fileName)\n"])
            .joined()
    }

    /// Reads a file to its end and compares it with what the manifest says of it.
    /// - Throws: ``SnapshotError`` of kind damaged that names the file and what is wrong.
    static func check(_ file: SnapshotManifest.File, in folder: String) throws(SnapshotError) {
        var reader = try SnapshotFileReader(path: "\(folder)/\(file.name)")
        var unpacked = 0
        var rows = 0
        while let piece = try reader.next() {
            unpacked += piece.count
            // Every row of COPY's text format ends with a line feed; those within values are written `\n`.
            for byte in piece where byte == 0x0A { rows += 1 }
        }
        let found = reader.outcome()
        guard found.bytes == file.bytes else {
            throw SnapshotError(.damaged, "\(file.name) has \(found.bytes) bytes instead of \(file.bytes)")
        }
        guard found.sha256 == file.sha256 else {
            throw SnapshotError(.damaged, "\(file.name) is not the file that was written: its SHA-256 differs")
        }
        guard unpacked == file.unpackedBytes, rows == file.rows else {
            throw SnapshotError(.damaged, "\(file.name) holds \(rows) rows instead of \(file.rows)")
        }
    }

    /// Puts the names in a folder on the disk for good.
    static func synchronise(folder: String) throws(SnapshotError) {
        let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw SnapshotFileWriter.failure(folder, errno) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw SnapshotFileWriter.failure(folder, errno) }
    }

    /// Writes a small file and puts it on the disk for good.
    static func write(_ data: Data, to path: String) throws(SnapshotError) {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw SnapshotFileWriter.failure(path, errno) }
        defer { close(descriptor) }
        var rest = data
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw SnapshotFileWriter.failure(path, errno) }
            rest = rest.dropFirst(count)
        }
        guard fsync(descriptor) == 0 else { throw SnapshotFileWriter.failure(path, errno) }
    }
}

/// Reads one gzip file piece by piece, summing what comes from the disk.
struct SnapshotFileReader {
    private let path: String
    private let handle: FileHandle
    private let inflater: Recordings.GzipInflater
    private var hash = SHA256()
    private var bytes = 0

    init(path: String) throws(SnapshotError) {
        self.path = path
        guard let handle = FileHandle(forReadingAtPath: path) else {
            throw SnapshotError(.damaged, "\(path) is missing or cannot be read")
        }
        self.handle = handle
        do { self.inflater = try Recordings.GzipInflater() } catch {
            throw SnapshotError(.storage, "\(path): no memory to unpack with")
        }
    }

    /// Unpacked bytes; nil at the end of the file.
    mutating func next() throws(SnapshotError) -> [UInt8]? {
        while true {
            let piece: Data
            do { piece = try self.handle.read(upToCount: SnapshotFiles.pieceSize) ?? Data() } catch {
                throw SnapshotError(.storage, "\(self.path) cannot be read: \(error)")
            }
            guard !piece.isEmpty else {
                guard self.inflater.isComplete else {
                    throw SnapshotError(.damaged, "\(self.path) is truncated after \(self.bytes) bytes")
                }
                return nil
            }
            self.hash.update(data: piece)
            self.bytes += piece.count
            var output: [UInt8] = []
            do { try self.inflater.inflate(Array(piece), into: &output) } catch {
                throw SnapshotError(.damaged, "\(self.path) is damaged: no gzip data at or before byte \(self.bytes)")
            }
            if !output.isEmpty { return output }
        }
    }

    /// What was read so far.
    func outcome() -> (bytes: Int, sha256: String) { (self.bytes, SnapshotFiles.hex(self.hash.finalize())) }
}
