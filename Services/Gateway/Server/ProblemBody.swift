import Foundation
import Model

/// A ``Problem`` as bytes.
enum ProblemBody {
    static let mediaType = "application/problem+json"

    static func render(_ problem: Problem) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // A Problem has only texts and finite numbers, which always encode.
        return (try? encoder.encode(problem)).map(Array.init) ?? Array(#"{"status":500,"code":"internal-error"}"#.utf8)
    }
}
