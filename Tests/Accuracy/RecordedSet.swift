import Foundation

/// A folder of recordings whose kind its files tell.
struct RecordedSet: Sendable {
    enum Kind: String, Sendable {
        /// Tick recordings of one instrument at two venues.
        case market
        /// One stream with injected faults: `metrics.csv.gz`, `faults.csv`, perhaps `graph.csv`.
        case faults
        /// A normal period and short cases: `normal.csv.gz`, `cases.csv`, `cases/`, perhaps `graph.csv`.
        case cases
        /// Servers with labelled anomalies: `entities.csv`, `labels.csv`, a file per entity.
        case servers
    }

    let kind: Kind
    /// Path below the folder asked for.
    let name: String
    let folder: URL

    func file(_ name: String) -> String { self.folder.appending(path: name).path }

    /// Folders deeper than this are not looked at.
    private static let deepest = 4

    /// All sets in and below a folder, by name.
    static func all(under root: URL) throws -> [RecordedSet] {
        guard FileManager.default.fileExists(atPath: root.path) else {
            throw AccuracyFailure("there is no folder \(root.path)")
        }
        return try Self.sets(in: root, name: root.lastPathComponent, prefix: "", depth: 0).sorted { $0.name < $1.name }
    }

    private static func sets(in folder: URL, name: String, prefix: String, depth: Int) throws -> [RecordedSet] {
        let names = Set(try FileManager.default.contentsOfDirectory(atPath: folder.path))
        if let kind = Self.kind(of: names) { return [RecordedSet(kind: kind, name: name, folder: folder)] }
        guard depth < Self.deepest else { return [] }
        return try names.sorted().flatMap { entry -> [RecordedSet] in
            let inner = folder.appending(path: entry)
            var isFolder: ObjCBool = false
            guard FileManager.default.fileExists(atPath: inner.path, isDirectory: &isFolder), isFolder.boolValue else {
                return []
            }
            return try Self.sets(in: inner, name: prefix + entry, prefix: prefix + entry + "/", depth: depth + 1)
        }
    }

    private static func kind(of names: Set<String>) -> Kind? {
        if names.isSuperset(of: ["entities.csv", "labels.csv"]) { return .servers }
        if names.isSuperset(of: ["metrics.csv.gz", "faults.csv"]) { return .faults }
        if names.isSuperset(of: ["normal.csv.gz", "cases.csv"]) { return .cases }
        return names.contains { $0.hasSuffix(".csv.gz") } ? .market : nil
    }
}
