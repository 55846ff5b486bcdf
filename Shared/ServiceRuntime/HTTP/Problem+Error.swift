import HTTPTypes
import Hummingbird
import Model
import NIOCore
import Postgres

extension Problem {
    /// Every error a handler can throw as what the client may see. Unknown errors say nothing of their inside.
    public init(anyError error: any Error) {
        switch error {
        case let problem as Problem: self = problem
        case let error as ValidationError: self.init(error)
        case let error as PostgresError: self.init(error)
        case let error as DecodingError: self.init(error)
        case is NIOTooManyBytesError: self.init(.bodyTooLarge, detail: "the body is too large")
        case is CancellationError: self.init(.requestTimeout, detail: "The request was cancelled.")
        case let error as any HTTPResponseError:
            // A message of the framework is for the client only where the fault is the client's.
            let shown = error.status.code < 500 ? (error as? HTTPError)?.body : nil
            self.init(Self.code(status: Int(error.status.code)), detail: shown ?? "\(error.status.reasonPhrase).")
        default: self.init(.internalError, detail: "The request failed for a reason inside the service.")
        }
    }

    /// A decoding error names the field and what was expected there.
    init(_ error: DecodingError) {
        func field(_ path: [any CodingKey], _ last: (any CodingKey)? = nil) -> String {
            let names = (path + (last.map { [$0] } ?? [])).map { key in
                key.intValue.map { "[\($0)]" } ?? "." + key.stringValue
            }
            let text = names.joined().prefix(256)
            return text.isEmpty ? "the body" : String(text.hasPrefix(".") ? text.dropFirst() : text)
        }
        switch error {
        case .keyNotFound(let key, let context):
            self.init(.invalidRequest, detail: "\(field(context.codingPath, key)) is required")
        case .typeMismatch(_, let context):
            self.init(.invalidRequest, detail: "\(field(context.codingPath)) has the wrong type")
        case .valueNotFound(_, let context):
            self.init(.invalidRequest, detail: "\(field(context.codingPath)) must not be null")
        case .dataCorrupted(let context) where context.codingPath.isEmpty:
            self.init(.malformedBody, detail: "the body is not valid JSON in UTF-8")
        case .dataCorrupted(let context):
            // The description may quote the value, which may be as long as the body.
            self.init(
                .invalidRequest,
                detail: "\(field(context.codingPath)) is not valid: \(context.debugDescription.prefix(128))")
        @unknown default:
            self.init(.malformedBody, detail: "the body cannot be read")
        }
    }

    /// The code that stands for a bare HTTP status.
    static func code(status: Int) -> Code {
        switch status {
        case 401: .unauthenticated
        case 403: .forbidden
        case 404: .notFound
        case 405: .methodNotAllowed
        case 408: .requestTimeout
        case 413: .bodyTooLarge
        case 415: .unsupportedMediaType
        case 422: .idempotencyMismatch
        case 429: .rateLimited
        case 431: .headersTooLarge
        case 400..<500: .invalidRequest
        case 502: .upstreamFailed
        case 503: .unavailable
        case 504: .deadlineExceeded
        default: .internalError
        }
    }
}
