import NIOCore

/// One client's connection from its acceptance on.
final class OpenConnection {
    /// How long a client may take for TLS.
    static let handshakeNanoseconds: Int64 = 10_000_000_000

    let channel: any Channel
    private let openedAt: Int64
    private var state = State.handshaking
    private var isDraining = false

    private enum State {
        case handshaking
        case http1(HTTP1Connection)
        case http2
    }

    init(channel: any Channel, now: Int64) {
        self.channel = channel
        self.openedAt = now
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

    func check(now: Int64, settings: DoorSettings) {
        switch self.state {
        case .handshaking:
            if now - self.openedAt > Self.handshakeNanoseconds { self.channel.close(promise: nil) }
        case .http1(let handler): handler.check(now: now)
        // The library's own handler watches these.
        case .http2: break
        }
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
