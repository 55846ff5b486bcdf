import Model

/// `/problems/{code}`: what the `type` of a problem leads to, for a person.
enum ProblemPage {
    static func answer(code: String) throws(Problem) -> OwnAnswer {
        guard let known = Problem.Code(rawValue: code) else {
            throw Problem(.notFound, detail: "There is no problem of this name.")
        }
        return OwnRoutes.bytes(
            Array(self.text(known).utf8), mediaType: "text/plain; charset=utf-8", cache: "public, max-age=3600")
    }

    static func text(_ code: Problem.Code) -> String {
        """
        \(code.title)

        code:   \(code.rawValue)
        status: \(code.status)

        \(self.advice(code))

        The member "detail" of the problem says what was at fault in this request, "traceId" finds it in the logs, and
        "retryAfter", where it stands, is the number of seconds after which the same request may succeed.

        """
    }

    private static func advice(_ code: Problem.Code) -> String {
        switch code.status {
        case 401: "Send a valid credential: an API key in X-API-Key, or a bearer token in Authorization."
        case 403: "Ask for a credential with the scope that the detail names."
        case 404: "Check the path and the ids in it against /openapi.json."
        case 408: "Send the whole request without pauses; the connection is closed."
        case 409: "Wait for the first request with this key to be answered, then send it again."
        case 413: "Send less at once: the detail names the limit in bytes."
        case 422: "Use a new Idempotency-Key for a new payload."
        case 429: "Send fewer requests: the RateLimit and RateLimit-Policy fields of every answer show what is left."
        case 431: "Send fewer or shorter header fields."
        case 502, 503, 504: "Nothing is wrong with the request as such: send it again after the time that is given."
        case 500: "This is our fault; the trace id helps us to find out why."
        default: "Change the request as the detail says; sent unchanged it will fail again."
        }
    }
}
