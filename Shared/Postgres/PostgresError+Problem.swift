import Model

extension Problem {
    /// The one place where database failures become HTTP. The text says nothing about the database's inside.
    public init(_ error: PostgresError) {
        switch error.code {
        case .overloaded:
            self.init(
                .overloaded, detail: "All database connections are busy.", retryAfter: error.retryAfterSeconds)
        case .timeout:
            self.init(
                .deadlineExceeded, detail: "The database did not answer within the time the request had.",
                retryAfter: error.retryAfterSeconds)
        case .cancelled:
            self.init(.requestTimeout, detail: "The request was cancelled before the database had answered.")
        default:
            if let seconds = error.retryAfterSeconds {
                self.init(
                    .unavailable, detail: "The database cannot serve the request at present.", retryAfter: seconds)
            } else {
                self.init(.internalError, detail: "The request could not be stored or read.")
            }
        }
    }
}
