import Foundation
import Glibc
import Synchronization
import TestSupport

/// Stands between programs and the server's Unix socket and passes bytes on late, or not at all, one way or both. Bytes that are
/// held are not lost: a network that is cut delivers them, too, once it is whole again, for as long as both ends hold on.
final class DatabaseRelay: Sendable {
    enum Way: Int, CaseIterable, Sendable { case toServer, toClient }

    struct Weather: Sendable {
        /// How long bytes are under way.
        var delayMs: [Way: Int64] = [:]
        /// Ways on which nothing passes.
        var cut: Set<Way> = []
    }

    /// Bytes under way in one direction, at most; then the sender waits.
    private static let underWayLimit = 1 << 20
    private static let connectionLimit = 400

    let folder: String
    private let target: String
    private let weather = Mutex(Weather())
    private let isStopped = Atomic<Bool>(false)

    init(to cluster: TestCluster) throws {
        var template = Array("/tmp/undercurrent-relay-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw RunningProgram.Failure(description: "mkdtemp: errno \(errno)") }
        self.folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        self.target = cluster.socketFolder + "/.s.PGSQL.5432"
        let listener = try Self.socket(self.folder + "/.s.PGSQL.5432", listens: true)
        Thread.detachNewThread { self.work(listener) }
    }

    func set(_ weather: Weather) { self.weather.withLock { $0 = weather } }

    func stop() {
        self.isStopped.store(true, ordering: .relaxed)
        try? FileManager.default.removeItem(atPath: self.folder)
    }

    private static func socket(_ path: String, listens: Bool) throws -> CInt {
        let descriptor = Glibc.socket(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix(107)) }
        let size = socklen_t(MemoryLayout<sockaddr_un>.size)
        let code = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                listens ? bind(descriptor, $0, size) : connect(descriptor, $0, size)
            }
        }
        guard code == 0, !listens || listen(descriptor, 128) == 0 else {
            close(descriptor)
            throw RunningProgram.Failure(description: "\(path): errno \(errno)")
        }
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
        return descriptor
    }

    /// Two sockets and what is under way between them.
    private struct Pair {
        /// By ``Way``: where bytes of that way come from.
        var sources: [CInt]
        var queues: [[(due: Int64, bytes: ArraySlice<UInt8>)]] = [[], []]
        var sizes = [0, 0]
        var ended = [false, false]

        /// Where bytes of a way go to: the source of the other one.
        func sink(_ way: Int) -> CInt { self.sources[1 - way] }

        var isDone: Bool { self.ended.contains(true) && self.queues.allSatisfy(\.isEmpty) }
    }

    private static func nowMs() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000
    }

    private func work(_ listener: CInt) {
        var pairs: [Pair] = []
        while !self.isStopped.load(ordering: .relaxed) {
            var polled = [pollfd(fd: listener, events: Int16(POLLIN), revents: 0)]
            for pair in pairs {
                for way in 0..<2 {
                    let hasRoom = !pair.ended[way] && pair.sizes[way] < Self.underWayLimit
                    polled.append(pollfd(fd: pair.sources[way], events: hasRoom ? Int16(POLLIN) : 0, revents: 0))
                }
            }
            poll(&polled, nfds_t(polled.count), pairs.contains { $0.sizes != [0, 0] } ? 2 : 20)
            if polled[0].revents != 0 { self.accept(listener, &pairs) }
            let weather = self.weather.withLock { $0 }
            for index in pairs.indices {
                for way in Way.allCases {
                    let slot = 1 + index * 2 + way.rawValue
                    if slot < polled.count, polled[slot].events != 0, polled[slot].revents != 0 {
                        Self.take(&pairs[index], way, weather)
                    }
                    if !weather.cut.contains(way) { Self.pass(&pairs[index], way.rawValue) }
                }
            }
            for pair in pairs where pair.isDone { for descriptor in pair.sources { close(descriptor) } }
            pairs.removeAll { $0.isDone }
        }
        for pair in pairs { for descriptor in pair.sources { close(descriptor) } }
        close(listener)
    }

    private func accept(_ listener: CInt, _ pairs: inout [Pair]) {
        let client = Glibc.accept(listener, nil, nil)
        guard client >= 0 else { return }
        _ = fcntl(client, F_SETFL, fcntl(client, F_GETFL) | O_NONBLOCK)
        _ = fcntl(client, F_SETFD, FD_CLOEXEC)
        guard pairs.count < Self.connectionLimit, let server = try? Self.socket(self.target, listens: false) else {
            close(client)
            return
        }
        pairs.append(Pair(sources: [client, server]))
    }

    private static func take(_ pair: inout Pair, _ way: Way, _ weather: Weather) {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = read(pair.sources[way.rawValue], &bytes, bytes.count)
        if count > 0 {
            pair.queues[way.rawValue].append((Self.nowMs() + (weather.delayMs[way] ?? 0), bytes[0..<count]))
            pair.sizes[way.rawValue] += count
        } else if count == 0 || (errno != EAGAIN && errno != EINTR) {
            pair.ended[way.rawValue] = true
        }
    }

    private static func pass(_ pair: inout Pair, _ way: Int) {
        while let first = pair.queues[way].first, first.due <= Self.nowMs() {
            let count = first.bytes.withUnsafeBytes {
                send(pair.sink(way), $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL))
            }
            if count > 0 {
                pair.sizes[way] -= count
                if count == first.bytes.count {
                    pair.queues[way].removeFirst()
                } else {
                    pair.queues[way][0].bytes = first.bytes.dropFirst(count)
                }
            } else {
                guard errno != EAGAIN, errno != EINTR else { return }
                pair.ended = [true, true]
                pair.queues = [[], []]
                pair.sizes = [0, 0]
            }
        }
    }
}
