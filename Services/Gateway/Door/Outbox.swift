import NIOCore

/// Connections of one event loop with something written that is not sent yet.
///
/// It is all sent at the end of the loop's turn, requests first: whoever reads is woken once and finds the work of a whole
/// turn, instead of being woken, and taking this processor away, for every single message. Each message still costs one
/// system call; what is saved is the kernel's work of waking and switching.
final class Outbox {
    private let eventLoop: any EventLoop
    private var requests: [UpstreamConnection] = []
    private var answers: [HTTP1Connection] = []
    private var isScheduled = false

    init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    func add(_ connection: UpstreamConnection) {
        self.requests.append(connection)
        self.schedule()
    }

    func add(_ connection: HTTP1Connection) {
        self.answers.append(connection)
        self.schedule()
    }

    private func schedule() {
        guard !self.isScheduled else { return }
        self.isScheduled = true
        self.eventLoop.assumeIsolated().execute { self.send() }
    }

    private func send() {
        self.isScheduled = false
        var requests: [UpstreamConnection] = []
        var answers: [HTTP1Connection] = []
        // What fails may begin other requests, which then wait for the next turn.
        swap(&requests, &self.requests)
        swap(&answers, &self.answers)
        for connection in requests { connection.flush() }
        for connection in answers { connection.flush() }
        guard self.requests.isEmpty, self.answers.isEmpty else { return }
        requests.removeAll(keepingCapacity: true)
        answers.removeAll(keepingCapacity: true)
        swap(&requests, &self.requests)
        swap(&answers, &self.answers)
    }
}
