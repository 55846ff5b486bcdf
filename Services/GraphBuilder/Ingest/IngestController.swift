import HTTPTypes
import Hummingbird
import Model
import NIOCore
import ServiceRuntime

/// `POST /v1/observations`.
struct IngestController<Context: RequestContext>: Sendable {
    let service: IngestService
    /// Who is asking; idempotency keys belong to a caller.
    let caller: @Sendable (Context) throws -> String

    init(service: IngestService, caller: @escaping @Sendable (Context) throws -> String) {
        self.service = service
        self.caller = caller
    }

    func addRoutes(to router: some RouterMethods<Context>) {
        router.post("/v1/observations") { request, context in
            try await self.post(request, context: context)
        }
    }

    func post(_ request: Request, context: Context) async throws -> Response {
        var head = IngestService.Head(format: try Self.format(request.headers[.contentType]))
        head.isGzip = try Self.isGzip(request.headers[.contentEncoding])
        if let key = request.headers[Self.keyHeader] {
            head.key = try IdempotencyKey(caller: self.caller(context), key: key)
        }
        let reply = try await self.service.ingest(head, body: request.body)
        var headers: HTTPFields = [.contentType: "application/json"]
        if reply.isReplayed { headers[Self.replayedHeader] = "true" }
        return Response(
            status: .init(code: reply.status), headers: headers,
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: reply.body)))
    }

    private static var keyHeader: HTTPField.Name { IngestHeaders.key }
    private static var replayedHeader: HTTPField.Name { IngestHeaders.replayed }

    /// `application/json` is one array; `application/x-ndjson` and its other spellings are lines.
    static func format(_ contentType: String?) throws(Problem) -> BodyScanner.Format {
        switch contentType.map(FieldList.mediaType) {
        case "application/json": return .array
        case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines":
            return .lines
        default:
            throw Problem(
                .unsupportedMediaType,
                detail: "Content-Type must be application/json (an array) or application/x-ndjson (one item a line).")
        }
    }

    static func isGzip(_ contentEncoding: String?) throws(Problem) -> Bool {
        switch contentEncoding?.lowercased() {
        case nil, "identity": return false
        case "gzip", "x-gzip": return true
        default: throw Problem(.unsupportedMediaType, detail: "Content-Encoding must be gzip or absent.")
        }
    }
}

/// Header names of the ingest API.
enum IngestHeaders {
    static let key = Self.name("Idempotency-Key")
    static let replayed = Self.name("Idempotency-Replayed")

    private static func name(_ text: String) -> HTTPField.Name {
        guard let name = HTTPField.Name(text) else { preconditionFailure("\(text) is a token by RFC 9110") }
        return name
    }
}
