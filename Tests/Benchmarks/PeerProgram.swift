import Foundation
import Glibc
import TestSupport

/// A program of others that does the same work and prints its answer as JSON.
enum PeerProgram {
    /// - Throws: ``WrongAnswer`` with the end of what it printed.
    static func ask<Answer: Decodable>(_ type: Answer.Type, _ command: [String]) throws -> Answer {
        let log = FileManager.default.temporaryDirectory.path + "/uc-peer-\(UInt64.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: log) }
        let process = try ChildProgram.spawn(command, log: log)
        var status: CInt = 0
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
        let output = try String(contentsOfFile: log, encoding: .utf8)
        guard status == 0 else { throw WrongAnswer(description: "\(command): \(output.suffix(500))") }
        return try JSONDecoder().decode(type, from: Data(output.utf8))
    }
}
