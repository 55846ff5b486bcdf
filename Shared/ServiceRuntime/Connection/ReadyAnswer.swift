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
    /// Without parameters, as the table of routes has it.
    public let path: String
    /// nil: not at hand, or to be refused; the request goes the way of all others.
    public let answer: @Sendable (_ query: Substring, _ headers: HTTPFields) -> ReadyAnswer?

    public init(
        path: String, answer: @escaping @Sendable (_ query: Substring, _ headers: HTTPFields) -> ReadyAnswer?
    ) {
        self.path = path
        self.answer = answer
    }
}
