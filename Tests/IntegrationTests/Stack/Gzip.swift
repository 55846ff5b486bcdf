import TestSupport

/// Packs a file beside itself, as `gzip` does.
enum Gzip {
    static func pack(_ path: String) async throws { try ChildProgram.run(["/bin/gzip", "-k", path]) }
}
