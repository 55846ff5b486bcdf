import Foundation
import Glibc

/// Colours for people at a terminal: none in files and pipes, none where NO_COLOR is set (no-color.org) or TERM is dumb.
public struct TerminalStyle: Sendable {
    public enum Color: Int, Sendable { case red = 31, green = 32, yellow = 33 }

    public let isColored: Bool

    public init(isTerminal: Bool, environment: [String: String]) {
        self.isColored = isTerminal && (environment["NO_COLOR"] ?? "").isEmpty && environment["TERM"] != "dumb"
    }

    public static var standardOutput: TerminalStyle {
        TerminalStyle(isTerminal: isatty(1) == 1, environment: ProcessInfo.processInfo.environment)
    }

    public func colored(_ text: String, _ color: Color) -> String {
        self.isColored ? "\u{1B}[\(color.rawValue)m\(text)\u{1B}[0m" : text
    }
}
