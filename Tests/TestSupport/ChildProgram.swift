import Foundation
import Glibc

/// Runs programs without Foundation's `Process`, which waits for every process that inherited its descriptors and so for ever for
/// a server that stays behind.
public enum ChildProgram {
    /// `POSIX_SPAWN_SETSID` of glibc's spawn.h, which Swift's module of it leaves out.
    private static let newSession: Int16 = 0x80

    /// Starts a program in a session of its own, with nothing of ours open, its output in `log`.
    public static func spawn(_ words: [String], log: String = "/dev/null") throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o644)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        for descriptor in CInt(3)..<256 { posix_spawn_file_actions_addclose(&actions, descriptor) }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // A Ctrl-C at the tests must not kill the server before its guard has removed the folder.
        // Swift's threads block most signals, and a child would inherit that: SIGALRM would never reach it.
        var noSignals = sigset_t()
        sigemptyset(&noSignals)
        posix_spawnattr_setsigmask(&attributes, &noSignals)
        posix_spawnattr_setflags(&attributes, Self.newSession | Int16(POSIX_SPAWN_SETSIGMASK))
        // By way of a shell, so that the program starts in a folder every user may be in.
        let words = ["/bin/sh", "-c", "cd / && exec \"$@\"", "sh"] + words
        let arguments = words.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        var process = pid_t()
        let code = posix_spawn(&process, words[0], &actions, &attributes, arguments, environ)
        guard code == 0 else { throw TestServer.Failure(description: "cannot start \(words[0]): errno \(code)") }
        return process
    }

    /// Runs a program to its end.
    /// - Throws: ``TestServer/Failure`` with the end of its output unless it exits with 0.
    public static func run(_ words: [String]) throws {
        let log = "/tmp/undercurrent-tool-\(getpid())-\(UInt64.random(in: 0 ... .max)).log"
        defer { unlink(log) }
        let process = try Self.spawn(words, log: log)
        var status: CInt = 0
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
        guard status == 0 else {
            let output = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
            throw TestServer.Failure(description: "\(words) failed with \(status): \(output.suffix(2_000))")
        }
    }
}
