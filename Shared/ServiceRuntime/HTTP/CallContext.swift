import Foundation
import Hummingbird
import Logging
import Model
import Telemetry

/// What is known about one request on its way through a service: who calls, until when, in which trace.
public struct CallContext: RequestContext {
    public var coreContext: CoreRequestContextStorage
    /// Set by ``CallerTokenMiddleware``; nil only on routes that are open to everyone.
    public var caller: CallerToken?
    /// When the answer is of no use any more. Also bound to `PostgresDeadline.current`.
    public var deadline: ContinuousClock.Instant?
    /// The server span of this request.
    public var trace: TraceContext?

    /// The connection the request came over.
    let connection: CallWatch.ConnectionID

    public init(source: Source) {
        self.coreContext = CoreRequestContextStorage(source: source)
        self.connection = ObjectIdentifier(source.channel)
    }

    public var requestDecoder: JSONDecoder { JSONDecoder() }
    public var responseEncoder: JSONEncoder { APIJSON.encoder() }

    /// Time left before the deadline, at least zero; nil without one.
    public var remaining: Duration? { self.deadline.map { max(.zero, $0 - .now) } }

    /// A path segment, percent-decoded once, checked by the rule of ``Name``.
    public func name(_ parameter: String) throws -> String {
        guard let raw = self.parameters.get(parameter), let text = raw.removingPercentEncoding else {
            throw Problem(.invalidRequest, detail: "\(parameter) is not valid percent-encoded UTF-8")
        }
        do { try Name.validate(text, field: parameter) } catch { throw Problem(error) }
        return text
    }
}
