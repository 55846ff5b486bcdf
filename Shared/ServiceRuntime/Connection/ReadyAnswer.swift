import HTTPTypes
import NIOCore

/// A whole answer that is at hand.
public struct ReadyAnswer: Sendable {
    public var status: HTTPResponse.Status
    public var headers: HTTPFields
    public var body: ByteBuffer?

    public init(status: HTTPResponse.Status, headers: HTTPFields, body: ByteBuffer? = nil) {
        self.status = status
        self.headers = headers
        self.body = body
    }
}

/// A GET whose answer is often at hand. It is asked on the event loop, so it must not wait.
public struct ReadyRoute: Sendable {
    /// nil: not at hand, or to be refused; the request goes the way of all others.
    /// - Parameters:
    ///   - target: path and query as they came.
    ///   - query: what follows the question mark.
    public typealias Answer =
        @Sendable (_ target: String, _ query: Substring, _ headers: HTTPFields) -> ReadyAnswer?

    /// As the table of routes has it; its last part may be a parameter.
    public let path: String
    public let answer: Answer

    public init(path: String, answer: @escaping Answer) {
        self.path = path
        self.answer = answer
    }

    /// What paths of this route begin with, when the last part is a parameter.
    var stem: String? {
        guard self.path.hasSuffix("}"), let slash = self.path.lastIndex(of: "/") else { return nil }
        return String(self.path[...slash])
    }
}
