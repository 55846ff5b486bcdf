import Foundation
import Glibc

/// A progress bar on standard error, only when that is a terminal; at most ten times a second.
struct ProgressLine {
    private let isTerminal = isatty(2) == 1
    private let clock = ContinuousClock()
    private var shownAt: ContinuousClock.Instant?

    /// - Parameter fraction: done, in 0 ... 1.
    mutating func show(fraction: Double, text: String) {
        guard self.isTerminal else { return }
        let now = self.clock.now
        if let shownAt, shownAt.duration(to: now) < .milliseconds(100) { return }
        self.shownAt = now
        self.write("\r\(Self.line(fraction: fraction, text: text))\u{1B}[K")
    }

    /// `[#####.....] 50 % text`
    static func line(fraction: Double, text: String) -> String {
        let width = 30
        let fraction = min(1, max(0, fraction))
        let done = Int((fraction * Double(width)).rounded())
        let bar = String(repeating: "#", count: done) + String(repeating: ".", count: width - done)
        return "[\(bar)] \(Figure.fixed(100 * fraction, 0)) % \(text)"
    }

    func clear() {
        if self.isTerminal { self.write("\r\u{1B}[K") }
    }

    private func write(_ text: String) { try? FileHandle.standardError.write(contentsOf: Data(text.utf8)) }
}
