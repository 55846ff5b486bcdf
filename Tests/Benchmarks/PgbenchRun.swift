import Foundation
import TestSupport

/// One run of PostgreSQL's own benchmark against the same server.
struct PgbenchRun {
    let url: String
    /// Connections.
    let clients: Int
    let seconds: Int

    /// - Parameter statements: per transaction of the script; more than one for a pipeline.
    /// - Returns: statements per second.
    func statementsPerSecond(_ script: String, statements: Int = 1) throws -> Double {
        let folder = FileManager.default.temporaryDirectory.path + "/uc-pgbench-\(UInt64.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try script.write(toFile: "\(folder)/script.sql", atomically: true, encoding: .utf8)
        let log = "\(folder)/log"
        let process = try ChildProgram.spawn(
            [
                try Self.program(), "-n", "-M", "prepared", "-c", "\(self.clients)", "-j", "2", "-T",
                "\(self.seconds)", "-f", "\(folder)/script.sql", self.url,
            ], log: log)
        var status: CInt = 0
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
        let output = try String(contentsOfFile: log, encoding: .utf8)
        guard status == 0,
            let line = output.split(separator: "\n").first(where: { $0.hasPrefix("tps = ") }),
            let number = line.split(separator: " ").dropFirst(2).first.flatMap({ Double($0) })
        else { throw WrongAnswer(description: "pgbench ended with \(status): \(output.suffix(500))") }
        return number * Double(statements)
    }

    private static func program() throws -> String {
        let base = "/usr/lib/postgresql"
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: base)) ?? []
        guard let newest = versions.compactMap(Int.init).max() else {
            throw WrongAnswer(description: "there is no pgbench: apt-get install postgresql")
        }
        return "\(base)/\(newest)/bin/pgbench"
    }
}
