import CLibpq
import Glibc

/// Connecting, without blocking calls of libpq other than the resolver's.
extension Session {
    /// Connects to the first host of the connection string that will have us.
    ///
    /// Each host has its share of the time that is left, so a silent one does not take the others' chance. Wrong credentials end the
    /// search: they would be wrong everywhere.
    static func open(
        _ configuration: PostgresConfiguration, signal: CancelSignal, operation: inout Operation
    ) throws(PostgresError) -> Session {
        let text = configuration.currentConnectionString
        let list = HostList(text)
        var left = list.hosts.count * list.passes.count
        var failure = PostgresError(.unavailable, detail: "no host")
        for pass in list.passes {
            for host in list.hosts {
                var settings = host.settings
                if let pass { settings.append(("target_session_attrs", pass)) }
                var attempt = operation
                if let deadline = operation.deadline {
                    let now = ContinuousClock.now
                    attempt.deadline = now + max(.zero, deadline - now) / left
                }
                left -= 1
                do throws(PostgresError) {
                    return try Self.open(text, configuration.applicationName, settings, signal: signal, &attempt)
                } catch {
                    if error.code == .cancelled || error.code == .forbidden { throw error }
                    failure = error
                }
            }
        }
        throw failure
    }

    private static func open(
        _ connectionString: String, _ applicationName: String, _ overrides: [(String, String)],
        signal: CancelSignal, _ operation: inout Operation
    ) throws(PostgresError) -> Session {
        let settings =
            [
                ("dbname", connectionString),
                ("fallback_application_name", applicationName),
                ("client_encoding", "UTF8"),
            ] + overrides
        let names = settings.map { strdup($0.0) }
        let values = settings.map { strdup($0.1) }
        defer { for text in names + values { free(text) } }
        let pointer = PQconnectStartParams(
            names.map { UnsafePointer($0) } + [nil], values.map { UnsafePointer($0) } + [nil], 1)
        guard let pointer else { throw PostgresError(.outOfResources, detail: "PQconnectStartParams") }
        let session = Session(adopting: pointer, signal: signal)
        // libpq has no call for the SQLSTATE of a refused connection; its verbose message has it.
        PQsetErrorVerbosity(pointer, PQERRORS_VERBOSE)
        var state = PGRES_POLLING_WRITING
        while state != PGRES_POLLING_OK {
            guard state == PGRES_POLLING_READING || state == PGRES_POLLING_WRITING, !session.isRefused else {
                throw Self.refusal(session.message)
            }
            try session.wait(for: state == PGRES_POLLING_READING ? POLLIN : POLLOUT, &operation)
            state = PQconnectPoll(pointer)
        }
        PQsetErrorVerbosity(pointer, PQERRORS_DEFAULT)
        guard PQsetnonblocking(pointer, 1) == 0 else { throw session.lost("PQsetnonblocking") }
        return session
    }

    private var isRefused: Bool { PQstatus(self.pointer) == CONNECTION_BAD }

    /// What a refused connection means: by SQLSTATE when the server spoke, by libpq's words when it did not come to that.
    static func refusal(_ message: String) -> PostgresError {
        if let sqlState = Self.sqlState(inVerbose: message) {
            let code = PostgresError.Code(sqlState: sqlState)
            // The server is there and will not have us now: 57P01 while it stops, 08006 and their like.
            return PostgresError(
                code == .connectionLost ? .unavailable : code == .schemaMismatch ? .forbidden : code,
                sqlState: sqlState, detail: message)
        }
        // Said by libpq itself, in no translation we ask for: what an operator must mend is told apart from what passes.
        let forbidden = [
            "no password supplied", "certificate verify failed", "does not match host name",
            "server does not support SSL",
            "root certificate file", "certificate authentication", "SCRAM authentication requires",
            "no pg_hba.conf entry",
        ]
        if forbidden.contains(where: message.contains) { return PostgresError(.forbidden, detail: message) }
        return PostgresError(.unavailable, detail: message)
    }

    /// `FATAL:  28P01: password authentication failed`: the first five characters of that kind between colons.
    static func sqlState(inVerbose message: String) -> String? {
        for part in message.split(separator: ":").dropFirst() {
            let word = part.drop { $0 == " " }
            guard part.hasPrefix("  "), word.utf8.count == 5,
                word.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x41...0x5A).contains($0) })
            else { continue }
            return String(word)
        }
        return nil
    }
}
