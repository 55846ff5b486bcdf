import ArgumentParser
import Foundation

/// Where a running system is and how to be let in: `.data/connection.json`, written by `make run`.
struct ConnectionFile: Codable, Sendable {
    struct Ports: Codable, Sendable {
        var port: Int
        var metricsPort: Int
    }

    /// Base URL of the gateway, without a path.
    var url: String
    /// PEM file of the authority that signed the gateway's certificate; nil: the system's authorities.
    var caFile: String?
    /// Secret: whoever reads the file may do what the key may do.
    var apiKey: String
    var databaseUrl: String?
    /// By service name: `gateway`, `graph-builder`, `anomaly-propagation`.
    var services: [String: Ports]?

    static func read(_ path: String) throws -> ConnectionFile {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw ValidationError("\(path) cannot be read. Is the system running? `make run` writes it.")
        }
        do {
            return try JSONDecoder().decode(ConnectionFile.self, from: data)
        } catch {
            throw ValidationError("\(path) is not a connection file: it needs url, caFile and apiKey.")
        }
    }
}

/// The options that say which gateway to talk to.
struct ConnectionOptions: ParsableArguments {
    @Option(help: "Connection file of a running system, as `make run` writes it to .data/connection.json.")
    var connection: String?

    @Option(help: "Base URL of the gateway, instead of a connection file: https://host:8443.")
    var url: String?

    @Option(help: "PEM file with the authority that signed the gateway's certificate (default: the system's).")
    var caFile: String?

    @Option(help: "File that holds the API key, alone on its first line.")
    var apiKeyFile: String?

    func validate() throws {
        guard (self.connection == nil) != (self.url == nil) else {
            throw ValidationError("Give either --connection or --url (with --api-key-file).")
        }
        guard self.url == nil || self.apiKeyFile != nil else {
            throw ValidationError("--url needs --api-key-file.")
        }
    }

    func resolve() throws -> ConnectionFile {
        if let connection { return try ConnectionFile.read(connection) }
        guard let url, let apiKeyFile, let data = FileManager.default.contents(atPath: apiKeyFile),
            let line = String(data: data, encoding: .utf8)?.split(whereSeparator: \.isNewline).first
        else {
            throw ValidationError("the file of --api-key-file cannot be read or is empty")
        }
        return ConnectionFile(url: url, caFile: self.caFile, apiKey: line.trimmingCharacters(in: .whitespaces))
    }
}
