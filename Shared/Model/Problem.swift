/// An RFC 9457 problem, the only form in which any service reports an error.
public struct Problem: Error, Hashable, Sendable, Codable {
    /// `/problems/<code>`: a page in docs/problems.
    public var type: String
    public var title: String
    public var status: Int
    public var detail: String
    public var code: Code
    public var traceId: String?
    /// Seconds after which the same request may succeed.
    public var retryAfter: Double?
    /// Which of several limits refused: `per-instance` or `global`.
    public var scope: String?

    /// - Parameter detail: safe to show; internals belong in the log.
    public init(_ code: Code, detail: String, retryAfter: Double? = nil, traceId: String? = nil, scope: String? = nil) {
        self.type = "/problems/\(code.rawValue)"
        self.title = code.title
        self.status = code.status
        self.detail = detail
        self.code = code
        self.traceId = traceId
        self.retryAfter = retryAfter
        self.scope = scope
    }

    /// Every error a client can meet, with its status: the one HTTP mapping.
    public enum Code: String, CaseIterable, Hashable, Sendable, Codable {
        case invalidRequest = "invalid-request"
        case malformedBody = "malformed-body"
        case unauthenticated = "unauthenticated"
        case credentialExpired = "credential-expired"
        case forbidden = "forbidden"
        case notFound = "not-found"
        case methodNotAllowed = "method-not-allowed"
        case requestTimeout = "request-timeout"
        case idempotencyInFlight = "idempotency-in-flight"
        case idempotencyMismatch = "idempotency-mismatch"
        case bodyTooLarge = "body-too-large"
        case unsupportedMediaType = "unsupported-media-type"
        case headersTooLarge = "headers-too-large"
        case rateLimited = "rate-limited"
        case internalError = "internal-error"
        case upstreamFailed = "upstream-failed"
        case unavailable = "unavailable"
        case overloaded = "overloaded"
        case memoryLimitExceeded = "MEMORY_LIMIT_EXCEEDED"
        case deadlineExceeded = "deadline-exceeded"

        public var status: Int {
            switch self {
            case .invalidRequest, .malformedBody: 400
            case .unauthenticated, .credentialExpired: 401
            case .forbidden: 403
            case .notFound: 404
            case .methodNotAllowed: 405
            case .requestTimeout: 408
            case .idempotencyInFlight: 409
            case .bodyTooLarge: 413
            case .unsupportedMediaType: 415
            case .idempotencyMismatch: 422
            case .rateLimited: 429
            case .headersTooLarge: 431
            case .internalError: 500
            case .upstreamFailed: 502
            case .unavailable, .overloaded, .memoryLimitExceeded: 503
            case .deadlineExceeded: 504
            }
        }

        public var title: String {
            switch self {
            case .invalidRequest: "The request is not valid"
            case .malformedBody: "The body cannot be read"
            case .unauthenticated: "No valid credential"
            case .credentialExpired: "The credential has expired"
            case .forbidden: "The credential lacks the scope"
            case .notFound: "Not found"
            case .methodNotAllowed: "Method not allowed"
            case .requestTimeout: "The request did not arrive in time"
            case .idempotencyInFlight: "A request with this key is in flight"
            case .idempotencyMismatch: "The key was used with another payload"
            case .bodyTooLarge: "The body is too large"
            case .unsupportedMediaType: "The media type is not supported"
            case .headersTooLarge: "The header fields are too large"
            case .rateLimited: "Too many requests"
            case .internalError: "Internal error"
            case .upstreamFailed: "A service behind the gateway failed"
            case .unavailable: "Temporarily unavailable"
            case .overloaded: "Overloaded"
            case .memoryLimitExceeded: "The memory ceiling is reached"
            case .deadlineExceeded: "The deadline has passed"
            }
        }
    }
}

extension Problem {
    public init(_ error: ValidationError) { self.init(.invalidRequest, detail: error.description) }
}
