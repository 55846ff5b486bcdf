import Foundation
import Testing

@testable import Postgres

@Suite("Connection string in a file")
struct ConnectionStringFileTests {
    @Test("a new connection takes what the file says now, and the last usable text while it says nothing usable")
    func rotation() throws {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID()).url")
        defer { try? FileManager.default.removeItem(at: file) }
        func write(_ text: String) throws { try Data(text.utf8).write(to: file) }
        try write("host=db user=desk password=old dbname=undercurrent\n")
        let first = try #require(PostgresConfiguration.connectionString(file: file.path))
        let configuration = try PostgresConfiguration(connectionString: first, connectionStringFile: file.path)
        try write("host=db user=desk password=new dbname=undercurrent\n")
        #expect(configuration.currentConnectionString.contains("password=new"))
        for text in ["", "\n", "host='unfinished"] {
            try write(text)
            #expect(configuration.currentConnectionString == first)
        }
        try FileManager.default.removeItem(at: file)
        #expect(configuration.currentConnectionString == first)
    }
}
