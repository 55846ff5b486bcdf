import CLibpq
import Foundation
import Glibc

/// One request to the server to stop what a connection is doing.
///
/// libpq's call waits for the server to take the request, without any limit; a paused server never does. So it runs on a thread
/// of its own, and whoever needs the connection again waits here for a bounded time. A request that is still under way
/// could hit a later statement: then the connection must be given up.
final class CancelRequest: Sendable {
    /// Readable once libpq's call has returned.
    private let finished: CInt

    /// - Returns: nil when the connection is closed, or out of descriptors.
    init?(of connection: OpaquePointer) {
        let finished = eventfd(0, CInt(EFD_CLOEXEC) | CInt(EFD_NONBLOCK))
        guard finished >= 0 else { return nil }
        guard let cancel = PQgetCancel(connection) else {
            Glibc.close(finished)
            return nil
        }
        self.finished = finished
        // Written and read as a number, since a pointer may not cross to another thread unseen; the thread owns it alone.
        let address = UInt(bitPattern: cancel)
        let thread = Thread { [self] in
            guard let cancel = OpaquePointer(bitPattern: address) else { return }
            var text = [CChar](repeating: 0, count: 256)
            _ = PQcancel(cancel, &text, CInt(text.count))
            PQfreeCancel(cancel)
            var one: UInt64 = 1
            _ = write(self.finished, &one, 8)
        }
        thread.name = "postgres-cancel"
        thread.stackSize = 256 << 10
        thread.start()
    }

    deinit { Glibc.close(self.finished) }

    /// - Returns: false when the server had not taken the request by then.
    func wait(milliseconds: CInt) -> Bool {
        var descriptor = pollfd(fd: self.finished, events: Int16(POLLIN), revents: 0)
        while true {
            let ready = poll(&descriptor, 1, milliseconds)
            if ready < 0, errno == EINTR { continue }
            return ready > 0
        }
    }
}
