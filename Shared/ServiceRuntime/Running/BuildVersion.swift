import Foundation

/// Which build this is. The commit comes from the environment of the image or start script; nobody guesses it.
public enum BuildVersion {
    public static let version = "0.1.0"
    public static let commitVariable = "UNDERCURRENT_COMMIT"

    public static func commit(environment: [String: String] = ProcessInfo.processInfo.environment) -> String {
        guard let commit = environment[Self.commitVariable], commit.count <= 64,
            commit.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == ".") }), !commit.isEmpty
        else { return "unknown" }
        return commit
    }

    public static var text: String { "\(Self.version) (\(Self.commit()))" }
}
