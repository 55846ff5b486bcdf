import Foundation
import Glibc
import Synchronization
import TestSupport

/// One real process of ours: started with exactly the given settings, its output kept, gone when the tests are.
final class RunningProgram: Sendable {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    let process: pid_t
    let log: String
    private let status = Mutex<CInt?>(nil)

    /// Folder of the built products: the test bundle lies in it.
    static var products: String {
        let here = URL(fileURLWithPath: ProcessInfo.processInfo.arguments[0]).deletingLastPathComponent().path
        guard !FileManager.default.isExecutableFile(atPath: here + "/graph-builder") else { return here }
        return URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent().appending(path: ".build/debug").path
    }

    /// - Parameters:
    ///   - settings: the whole environment of ours; nothing else is passed on but PATH and HOME.
    ///   - log: file that takes the output.
    ///   - folder: where the program lies.
    init(
        _ product: String, _ arguments: [String], settings: [String: String], log: String,
        from folder: String = RunningProgram.products
    ) throws {
        let binary = folder + "/" + product
        guard FileManager.default.isExecutableFile(atPath: binary) else {
            throw Failure(description: "\(binary) is not there: swift build --build-tests")
        }
        let inherited = ["PATH", "HOME"].compactMap { name in
            ProcessInfo.processInfo.environment[name].map { "\(name)=\($0)" }
        }
        let words =
            ["/usr/bin/env", "-i"] + inherited + settings.map { "\($0.key)=\($0.value)" }.sorted() + [binary]
            + arguments
        self.process = try ChildProgram.spawn(words, log: log)
        self.log = log
        // If the tests die, the process must not stay.
        _ = try? ChildProgram.spawn([
            "/bin/sh", "-c",
            """
            while kill -0 \(getpid()) 2>/dev/null && kill -0 \(self.process) 2>/dev/null; do sleep 0.5; done
            kill -KILL \(self.process) 2>/dev/null
            """,
        ])
    }

    var output: String { (try? String(contentsOfFile: self.log, encoding: .utf8)) ?? "" }

    /// The exit code once it has ended (128 + signal when it was killed).
    func exitCode() -> CInt? {
        self.status.withLock { status in
            if let status { return status }
            var raw: CInt = 0
            guard waitpid(self.process, &raw, WNOHANG) == self.process else { return nil }
            let code = raw & 0x7F == 0 ? (raw >> 8) & 0xFF : 128 + (raw & 0x7F)
            status = code
            return code
        }
    }

    func waitForExit(seconds: Double) async throws -> CInt {
        let deadline = ContinuousClock.now + .seconds(seconds)
        while ContinuousClock.now < deadline {
            if let code = self.exitCode() { return code }
            try await Task.sleep(for: .milliseconds(50))
        }
        throw Failure(description: "process \(self.process) runs after \(seconds) s: \(self.output.suffix(1_000))")
    }

    func signal(_ signal: CInt) { if self.exitCode() == nil { kill(self.process, signal) } }
}
