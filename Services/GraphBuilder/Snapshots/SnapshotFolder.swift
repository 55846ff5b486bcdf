import Foundation
import Glibc
import Model

/// `SNAPSHOT_DIR`: one folder per snapshot, named after it. What is being written has a name of its own until it is whole.
struct SnapshotFolder: Sendable {
    static let partialPrefix = ".partial-"
    private static let lockName = ".lock"
    /// More folders than any retention leaves; the rest is not looked at.
    static let entryLimit = 100_000

    let path: String

    /// - Throws: ``SnapshotError`` of kind storage unless the folder is there, or can be made, and can be written to.
    init(path: String) throws(SnapshotError) {
        self.path = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
        do {
            try FileManager.default.createDirectory(
                atPath: self.path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch {
            throw SnapshotError(.storage, "SNAPSHOT_DIR \(self.path) is not there and cannot be made")
        }
    }

    func folder(_ id: String) -> String { "\(self.path)/\(id)" }
    func partial(_ id: String) -> String { "\(self.path)/\(Self.partialPrefix)\(id)" }

    private func names() throws(SnapshotError) -> [String] {
        do { return try FileManager.default.contentsOfDirectory(atPath: self.path) } catch {
            throw SnapshotError(.storage, "SNAPSHOT_DIR \(self.path) cannot be read")
        }
    }

    /// Names of all finished snapshots, oldest first.
    func ids() throws(SnapshotError) -> [String] {
        Array(try self.names().filter(SnapshotName.isName).sorted().suffix(Self.entryLimit))
    }

    /// The snapshot a person means: a name, or `latest`.
    func resolve(_ text: String) throws(SnapshotError) -> String {
        let ids = try self.ids()
        if text == "latest" {
            guard let last = ids.last else { throw SnapshotError(.missing, "there is no snapshot in \(self.path)") }
            return last
        }
        guard ids.contains(text) else { throw SnapshotError(.missing, "there is no snapshot \(text) in \(self.path)") }
        return text
    }

    /// Holds the folder for writing; the lock goes with the process, however that ends.
    func lock() throws(SnapshotError) -> Lock {
        let path = "\(self.path)/\(Self.lockName)"
        let descriptor = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw SnapshotFileWriter.failure(path, errno) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            throw SnapshotError(.busy, "another process is making or removing snapshots in \(self.path)")
        }
        return Lock(descriptor: descriptor)
    }

    final class Lock: Sendable {
        private let descriptor: CInt
        fileprivate init(descriptor: CInt) { self.descriptor = descriptor }
        deinit { close(self.descriptor) }
    }

    /// Removes what interrupted runs left behind. Only with the lock held: then nobody is writing.
    func removePartials(_ lock: Lock) throws(SnapshotError) -> [String] {
        let left = try self.names().filter { $0.hasPrefix(Self.partialPrefix) }.sorted()
        for name in left { try? FileManager.default.removeItem(atPath: "\(self.path)/\(name)") }
        return left
    }

    /// Gives a whole snapshot its name, in one step that is on the disk when this returns.
    func publish(_ id: String, _ lock: Lock) throws(SnapshotError) {
        try SnapshotFiles.synchronise(folder: self.partial(id))
        guard rename(self.partial(id), self.folder(id)) == 0 else {
            throw SnapshotFileWriter.failure(self.folder(id), errno)
        }
        try SnapshotFiles.synchronise(folder: self.path)
    }

    /// Takes a snapshot away. It loses its name first, so that no reader finds half of it.
    func remove(_ id: String, _ lock: Lock) throws(SnapshotError) {
        guard rename(self.folder(id), self.partial(id)) == 0 else {
            throw SnapshotFileWriter.failure(self.folder(id), errno)
        }
        try? FileManager.default.removeItem(atPath: self.partial(id))
    }
}

/// Which snapshots may go.
struct SnapshotRetention: Sendable {
    /// Kept this long after they were made.
    let days: Int

    /// - Parameter snapshots: finished ones with the time they were made; nil when their manifest cannot be read.
    /// - Returns: ids to remove, oldest first. The newest readable one always stays, however old: it is the last there is. One that
    ///   cannot be read is kept for people to look at for as long as its name says it is young.
    func expired(_ snapshots: [(id: String, createdAt: Timestamp?)], now: Timestamp) -> [String] {
        let limit = now.milliseconds - Int64(self.days) * 86_400_000
        let newest = snapshots.filter { $0.createdAt != nil }.max { $0.id < $1.id }?.id
        return snapshots.filter { snapshot in
            guard snapshot.id != newest else { return false }
            guard let createdAt = snapshot.createdAt ?? Self.time(ofName: snapshot.id) else { return false }
            return createdAt.milliseconds < limit
        }.map(\.id).sorted()
    }

    static func time(ofName id: String) -> Timestamp? {
        guard SnapshotName.isName(id) else { return nil }
        let digits = Array(id)
        func part(_ range: Range<Int>) -> String { String(digits[range]) }
        return Timestamp(
            rfc3339:
                "\(part(0..<4))-\(part(4..<6))-\(part(6..<8))T\(part(9..<11)):\(part(11..<13)):\(part(13..<15))Z")
    }
}
