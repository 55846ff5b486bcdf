import Foundation
import Model
import Testing

@Suite("Pages about problems")
struct ProblemPagesTests {
    static let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../docs/problems")
        .standardizedFileURL

    @Test("each code has its page, and no page lacks its code")
    func pages() throws {
        let files = try FileManager.default.contentsOfDirectory(atPath: Self.folder.path).filter { !$0.hasPrefix(".") }
        #expect(Set(files) == Set(Problem.Code.allCases.map { $0.rawValue + ".md" }))
    }

    @Test("a page has the title and status of its code and says what to do", arguments: Problem.Code.allCases)
    func page(code: Problem.Code) throws {
        let text = try String(contentsOf: Self.folder.appending(path: "\(code.rawValue).md"), encoding: .utf8)
        let lines = text.split(separator: "\n").map(String.init)
        try #require(lines.count > 2)
        #expect(lines[0] == "# \(code.title)")
        #expect(lines[1] == "Code `\(code.rawValue)`, HTTP status \(code.status).")
        #expect(lines.filter { $0.hasPrefix("## ") } == ["## Meaning", "## Cause", "## What to do"])
        #expect(!zip(lines, lines.dropFirst()).contains { $0.hasPrefix("#") && $1.hasPrefix("#") })
        #expect(lines.last?.hasPrefix("#") == false)
    }
}
