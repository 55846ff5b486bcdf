import CoreMetrics
import Foundation
import Glibc
import Logging
import ServiceLifecycle
import UnixSignals

/// Reads the configuration again on SIGHUP, and when the file named by CONFIG_FILE has changed. One that is not valid changes
/// nothing: the service goes on with what it has.
struct SettingsReload: Service {
    static let interval = Duration.seconds(2)

    let live: LiveSettings
    let load: @Sendable () throws(SettingsError) -> ServiceSettings
    /// CONFIG_FILE; nil: only SIGHUP is heeded.
    let path: String?
    let logger: Logger
    let reloads: Counter
    let failures: Counter

    init(
        live: LiveSettings, path: String?, logger: Logger, factory: any MetricsFactory,
        load: @escaping @Sendable () throws(SettingsError) -> ServiceSettings
    ) {
        self.live = live
        self.load = load
        self.path = path
        self.logger = logger
        self.reloads = Counter(label: "config_reloads_total", dimensions: [], factory: factory)
        self.failures = Counter(label: "config_reload_failures_total", dimensions: [], factory: factory)
    }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            await withTaskGroup(of: Void.self) { group in
                group.addTask {
                    for await _ in await UnixSignalsSequence(trapping: .sighup) { self.reload(because: "SIGHUP") }
                }
                if let path = self.path { group.addTask { await self.watch(path) } }
                await group.waitForAll()
            }
        }
    }

    private func watch(_ path: String) async {
        var known = FileStamp(path)
        while !Task.isCancelled {
            try? await Task.sleep(for: Self.interval)
            let now = FileStamp(path)
            // A file that is away for a moment is being replaced.
            guard now != known, now != nil else { continue }
            known = now
            self.reload(because: "the file has changed")
        }
    }

    func reload(because reason: String) {
        do throws(SettingsError) {
            let change = self.live.take(try self.load())
            self.reloads.increment()
            self.logger.notice(
                "configuration read again",
                metadata: [
                    "because": "\(reason)", "changed": "\(change.applied)", "needsRestart": "\(change.deferred)",
                ])
        } catch {
            self.failures.increment()
            self.logger.error(
                "configuration is not valid; the one in force stays", metadata: ["faults": "\(error.description)"])
        }
    }
}

/// What tells one state of a file from another, also when a symbolic link on its way was turned (as for a ConfigMap).
struct FileStamp: Hashable {
    let device: UInt64
    let inode: UInt64
    let size: Int64
    let seconds: Int
    let nanoseconds: Int

    init?(_ path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        self.device = UInt64(status.st_dev)
        self.inode = UInt64(status.st_ino)
        self.size = Int64(status.st_size)
        self.seconds = status.st_mtim.tv_sec
        self.nanoseconds = status.st_mtim.tv_nsec
    }
}
