import Model
import NIOCore
import ServiceRuntime
import Telemetry

/// What one event loop of the public side keeps for itself: connections, running exchanges, idle connections to services,
/// unwritten log lines. Touched by that loop alone, so nothing in it is locked.
final class LoopState {
    /// How often deadlines are looked at while requests run.
    static let tick = TimeAmount.milliseconds(10)
    static let logDelay = TimeAmount.milliseconds(100)
    static let logBatch = 32 << 10

    let eventLoop: any EventLoop
    let core: DoorCore
    let pool: UpstreamPool
    let outbox: Outbox
    var random = FastRandom()
    private var limits: (values: DoorCore.Live, change: Int)
    private var standingLines: String
    private var dates = DateLine()
    private var stamps = StampText()
    private var running: [Exchange] = []
    /// HTTP/2 streams whose answer is written but not taken by the client yet.
    private var unsent: [HTTP2Stream] = []
    private var isTicking = false
    private var lines = ByteBuffer()
    private var isLogScheduled = false
    private var forwarded: [ForwardedKey: String] = [:]
    private(set) var connections: [ObjectIdentifier: OpenConnection] = [:]
    private(set) var isDraining = false
    /// The service has begun to stop, the listener is still open.
    private(set) var isQuiescing = false

    init(eventLoop: any EventLoop, core: DoorCore) {
        self.eventLoop = eventLoop
        self.core = core
        self.pool = UpstreamPool(eventLoop: eventLoop)
        self.outbox = Outbox(eventLoop: eventLoop)
        self.limits = core.limits
        self.standingLines = core.standingLines
    }

    // MARK: - Deadlines

    func add(_ exchange: Exchange) {
        exchange.place = self.running.count
        self.running.append(exchange)
        guard !self.isTicking else { return }
        self.isTicking = true
        self.scheduleTick()
    }

    func remove(_ exchange: Exchange) {
        guard let place = exchange.place, let last = self.running.popLast() else { return }
        exchange.place = nil
        guard last !== exchange else { return }
        self.running[place] = last
        last.place = place
    }

    func add(unsent stream: HTTP2Stream) {
        stream.unsentPlace = self.unsent.count
        self.unsent.append(stream)
    }

    func remove(unsent stream: HTTP2Stream) {
        guard let place = stream.unsentPlace, let last = self.unsent.popLast() else { return }
        stream.unsentPlace = nil
        guard last !== stream else { return }
        self.unsent[place] = last
        last.unsentPlace = place
    }

    private func scheduleTick() {
        self.eventLoop.assumeIsolated().scheduleTask(in: Self.tick) {
            let now = MonotonicClock.nanoseconds()
            // Backwards: an exchange that ends is replaced by one that has been looked at.
            for index in self.running.indices.reversed() where index < self.running.count {
                self.running[index].check(now: now)
            }
            self.isTicking = !self.running.isEmpty
            if self.isTicking { self.scheduleTick() }
        }
    }

    // MARK: - Limits

    /// `ratelimit-policy` of callers.
    var policyLine: String { self.latestLimits.policyLine }
    /// Longest time from the head of a request to the last byte of its answer.
    var requestMs: Int { self.latestLimits.requestMs }

    private var latestLimits: DoorCore.Live {
        if !self.core.isLatest(change: self.limits.change) { self.limits = self.core.limits }
        return self.limits.values
    }

    // MARK: - Texts

    /// What every answer has: the date, and lines that are always the same.
    func writeStandingLines(into writer: inout ByteWriter) {
        self.dates.refresh(nowMs: WallClock.milliseconds())
        writer.write(self.dates.line)
        writer.write(self.standingLines)
    }

    /// What a service is told about where a request came from.
    func forwardedLines(peer: PeerText, host: String?) -> String {
        let key = ForwardedKey(peer: peer.address, host: host)
        if let known = self.forwarded[key] { return known }
        // Clients may send any host: the memory is bounded by forgetting all of it.
        if self.forwarded.count >= 1_024 { self.forwarded.removeAll(keepingCapacity: true) }
        let lines = ForwardedFields.lines(peer: peer.address, host: host)
        self.forwarded[key] = lines
        return lines
    }

    private struct ForwardedKey: Hashable {
        let peer: String?
        let host: String?
    }

    func log(_ record: AccessRecord, now: Int64) {
        guard self.core.accessLog.isOn else { return }
        self.core.accessLog.append(
            record, time: self.stamps.text(ms: WallClock.milliseconds()), now: now, to: &self.lines)
        if self.lines.readableBytes >= Self.logBatch {
            self.flushLog()
        } else if !self.isLogScheduled {
            self.isLogScheduled = true
            self.eventLoop.assumeIsolated().scheduleTask(in: Self.logDelay) {
                self.isLogScheduled = false
                self.flushLog()
            }
        }
    }

    func flushLog() {
        guard self.lines.readableBytes > 0 else { return }
        self.core.accessLog.submit(self.lines)
        self.lines = ByteBuffer()
        self.lines.reserveCapacity(Self.logBatch + 4_096)
    }

    // MARK: - Connections

    func open(_ connection: OpenConnection) {
        let id = ObjectIdentifier(connection.channel)
        self.connections[id] = connection
        connection.channel.closeFuture.assumeIsolated().whenComplete { _ in
            self.connections.removeValue(forKey: id)
        }
    }

    func checkConnections(now: Int64) {
        for connection in self.connections.values { connection.check(now: now, settings: self.core.settings) }
        for index in self.unsent.indices.reversed() where index < self.unsent.count {
            let stream = self.unsent[index]
            guard now - stream.unsentSince > self.core.settings.idleNanoseconds else { continue }
            self.remove(unsent: stream)
            stream.giveUp()
        }
        self.pool.dropIdle(now: now)
    }

    /// From now on every answer ends its connection, and HTTP/2 clients are told to open no more streams.
    func quiesce() {
        guard !self.isQuiescing else { return }
        self.isQuiescing = true
        for connection in self.connections.values { connection.quiesce() }
    }

    /// From now on connections close as soon as they have nothing to do.
    func drain() {
        self.isDraining = true
        self.isQuiescing = true
        for connection in self.connections.values { connection.drain() }
    }

    /// Ends everything at once.
    func shut() {
        for connection in self.connections.values { connection.channel.close(promise: nil) }
        self.pool.shut()
        self.flushLog()
    }
}

/// RFC 3339 with milliseconds; the text of a millisecond is made once.
struct StampText {
    private var millisecond: Int64 = .min
    private var stamp = ""
    private var second: Int64 = .min
    private var prefix = ""

    mutating func text(ms: Int64) -> String {
        guard ms != self.millisecond else { return self.stamp }
        let second = ms / 1_000
        if second != self.second {
            self.second = second
            // "2026-01-02T03:04:05" of "2026-01-02T03:04:05.000Z"
            self.prefix = String(Timestamp(milliseconds: second * 1_000).rfc3339.prefix(19))
        }
        let rest = ms % 1_000
        self.millisecond = ms
        self.stamp = "\(self.prefix).\(rest < 10 ? "00" : rest < 100 ? "0" : "")\(rest)Z"
        return self.stamp
    }
}
