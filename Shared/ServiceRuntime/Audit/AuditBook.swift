import Model

/// What waits to be written, in bounded memory. A value without I/O: ``AuditLog`` writes what it gives out.
///
/// The first refusal of its kind is a row at once; those alike within ``windowMs`` become one more row with their number. There
/// are at most ``kindLimit`` kinds at a time, the rest count as one kind "others": a flood makes no more rows than that, however
/// many names and addresses it comes with.
public struct AuditBook: Sendable {
    public static let windowMs: Int64 = 60_000
    public static let kindLimit = 1_000
    /// Rows that wait while the database is away.
    public static let rowLimit = 10_000

    private struct Kind: Hashable {
        var actor: String
        var peer: String
        var action: String
        var code: String
        static let others = Kind(actor: "others", peer: "others", action: "others", code: "others")
    }

    private struct Window {
        let endMs: Int64
        /// What came after the first one; nil: nothing did.
        var more: AuditRow?
    }

    public let level: AuditLevel
    private var rows: [AuditRow] = []
    private var windows: [Kind: Window] = [:]
    /// Events for which there was no room, since it was last asked.
    private var dropped = 0

    public init(level: AuditLevel) { self.level = level }

    public var isEmpty: Bool { self.rows.isEmpty }
    public var count: Int { self.rows.count }

    /// - Returns: whether it is kept.
    @discardableResult
    public mutating func note(_ event: AuditEvent) -> Bool {
        guard event.kind.level <= self.level else { return false }
        guard event.kind == .refusal else {
            self.append(AuditRow(event: event))
            return true
        }
        var kind = Kind(actor: event.actor, peer: event.peer, action: event.action, code: event.code)
        var event = event
        if self.windows[kind] == nil, self.windows.count >= Self.kindLimit {
            kind = .others
            (event.actor, event.peer, event.action, event.code) = ("others", "others", "others", "others")
            (event.credential, event.keyID) = ("-", "-")
        }
        guard var window = self.windows[kind] else {
            self.windows[kind] = Window(endMs: event.time.milliseconds + Self.windowMs)
            self.append(AuditRow(event: event))
            return true
        }
        if var more = window.more {
            more.count += 1
            more.lastTime = max(more.lastTime, event.time)
            window.more = more
        } else {
            window.more = AuditRow(event: event)
        }
        self.windows[kind] = window
        return true
    }

    /// Closes the windows that are over.
    /// - Parameter isEnding: all of them, because nothing comes after.
    public mutating func closeWindows(now: Timestamp, isEnding: Bool = false) {
        for (kind, window) in self.windows where isEnding || window.endMs <= now.milliseconds {
            self.windows[kind] = nil
            if let more = window.more { self.append(more) }
        }
    }

    /// Takes out the oldest rows, at most `limit`.
    public mutating func take(_ limit: Int) -> [AuditRow] {
        let taken = Array(self.rows.prefix(limit))
        self.rows.removeFirst(taken.count)
        return taken
    }

    /// Brings back what could not be written, in front.
    public mutating func putBack(_ rows: [AuditRow]) {
        let room = max(0, Self.rowLimit - self.rows.count)
        self.dropped += rows.dropFirst(room).reduce(0) { $0 + $1.count }
        self.rows.insert(contentsOf: rows.prefix(room), at: 0)
    }

    public mutating func takeDropped() -> Int {
        defer { self.dropped = 0 }
        return self.dropped
    }

    private mutating func append(_ row: AuditRow) {
        guard self.rows.count < Self.rowLimit else {
            self.dropped += row.count
            return
        }
        self.rows.append(row)
    }
}
