import NIOCore

/// One client's connection from its acceptance on.
final class OpenConnection {
    let channel: any Channel
    private let openedAt: Int64
    private var state = State.handshaking
    private var isDraining = false
    /// Bytes that the client had not taken when it was last looked, and since when they have not become fewer.
    private var pendingBytes = 0
    private var stalledSince: Int64

    private enum State {
        case handshaking
        case http1(HTTP1Connection)
        case http2
    }

    init(channel: any Channel, now: Int64) {
        self.channel = channel
        self.openedAt = now
        self.stalledSince = now
    }

    func speaks(_ handler: HTTP1Connection) {
        self.state = .http1(handler)
        if self.isDraining { handler.drain() }
    }

    func speaksHTTP2(isQuiescing: Bool) {
        self.state = .http2
        if self.isDraining || isQuiescing { self.quiesce() }
    }

    /// HTTP/1 connections end behind their next answer by themselves.
    func quiesce() {
        if case .http2 = self.state { self.channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent()) }
    }

    /// Looked at once a second.
    func check(now: Int64, settings: DoorSettings) {
        switch self.state {
        case .handshaking:
            if now - self.openedAt > settings.headNanoseconds { self.channel.close(promise: nil) }
        case .http1(let handler): handler.check(now: now)
        // The library's own handler closes idle ones, but waits for as long as streams are open.
        case .http2: if self.isStalled(now: now, settings: settings) { self.channel.close(promise: nil) }
        }
    }

    /// Whether the client has taken nothing of what is written for as long as a connection may be idle.
    private func isStalled(now: Int64, settings: DoorSettings) -> Bool {
        let pending = (try? self.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
        if pending == 0 || pending < self.pendingBytes { self.stalledSince = now }
        self.pendingBytes = pending
        return now - self.stalledSince > settings.idleNanoseconds
    }

    func drain() {
        self.isDraining = true
        switch self.state {
        case .handshaking: break
        case .http1(let handler): handler.drain()
        case .http2: self.quiesce()
        }
    }
}
