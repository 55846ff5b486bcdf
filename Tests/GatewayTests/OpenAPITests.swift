import Foundation
import Model
import Testing
import Yams

@testable import Gateway

/// `openapi.yaml` against the code: what one says, the other must do.
@Suite("The OpenAPI document")
struct OpenAPITests {
    static let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../openapi.yaml")
        .standardizedFileURL
    static let methods = ["get", "put", "post", "delete", "options", "head", "patch", "trace"]

    let root: Node
    let text: String

    init() throws {
        self.text = try String(contentsOf: Self.file, encoding: .utf8)
        self.root = try #require(try Yams.compose(yaml: self.text))
    }

    struct Operation {
        let method: String
        let path: String
        let node: Node

        var scope: String? { self.node["x-scope"]?.string }
        var name: String { "\(self.method) \(self.path)" }
    }

    private func operations() throws -> [Operation] {
        try #require(self.root["paths"]?.mapping).flatMap { path, item in
            Self.methods.compactMap { method in
                item[method].map { Operation(method: method.uppercased(), path: path.string ?? "", node: $0) }
            }
        }
    }

    private func resolved(_ node: Node) throws -> Node {
        guard let reference = node["$ref"]?.string else { return node }
        var target: Node? = self.root
        for part in reference.split(separator: "/").dropFirst() { target = target?[String(part)] }
        return try #require(target, "\(reference) leads nowhere")
    }

    /// The texts of a list; none when it is absent.
    static func texts(_ list: Node?) -> [String] { list?.array().compactMap(\.string) ?? [] }

    private func schema(_ name: String) throws -> Node {
        try #require(self.root["components"]?["schemas"]?[name], "there is no schema \(name)")
    }

    @Test("methods, paths and scopes are those of the route table, both ways")
    func routes() throws {
        let written = try self.operations().map { "\($0.name) \($0.scope ?? "open")" }
        let known = APIRoute.all.map { "\($0.method.rawValue) \($0.path) \($0.scope?.rawValue ?? "open")" }
        #expect(Set(written) == Set(known))
        #expect(written.count == known.count)
    }

    @Test("a route takes a body, a credential and path parameters exactly where the table says so")
    func details() throws {
        for operation in try self.operations() {
            let route = try #require(
                APIRoute.all.first { $0.method.rawValue == operation.method && $0.path == operation.path })
            #expect(operation.node["requestBody"]?["x-body-limit"]?.int ?? 0 == route.bodyLimit, "\(operation.name)")
            let isOpen = operation.node["security"]?.sequence?.isEmpty ?? false
            #expect(isOpen == (route.scope == nil), "\(operation.name)")
            let item = try #require(self.root["paths"]?[operation.path])
            let parameters =
                Array(item["parameters"]?.sequence ?? []) + Array(operation.node["parameters"]?.sequence ?? [])
            let inPath = try parameters.map(self.resolved).filter { $0["in"]?.string == "path" }
            let segments = route.path.split(separator: "/").filter { $0.hasPrefix("{") }.map {
                $0.dropFirst().dropLast()
            }
            #expect(inPath.compactMap { $0["name"]?.string } == segments.map(String.init), "\(operation.name)")
        }
    }

    @Test("every operation has its own name, an example per body, and problems for what can go wrong")
    func completeness() throws {
        let operations = try self.operations()
        #expect(Set(operations.compactMap { $0.node["operationId"]?.string }).count == operations.count)
        for operation in operations {
            let responses = try #require(operation.node["responses"]?.mapping)
            let statuses = Set(responses.compactMap { $0.key.string })
            #expect(statuses.contains("default"), "\(operation.name)")
            if operation.scope != nil {
                #expect(statuses.isSuperset(of: ["401", "403", "429", "503"]), "\(operation.name)")
            }
            let bodies = [operation.node["requestBody"]].compactMap(\.self) + responses.map(\.value)
            for body in try bodies.map(self.resolved) {
                for (media, content) in body["content"]?.mapping ?? [:] {
                    #expect(
                        content["schema"] != nil && content["example"] != nil, "\(operation.name) \(media.string ?? "")"
                    )
                }
            }
        }
    }

    @Test("every reference leads somewhere")
    func references() throws {
        func visit(_ node: Node) throws {
            _ = try self.resolved(node)
            for child in node.mapping?.map(\.value) ?? [] { try visit(child) }
            for child in node.sequence.map(Array.init) ?? [] { try visit(child) }
        }
        try visit(self.root)
    }

    @Test("a problem response carries the status, title and code of the problem it shows")
    func problems() throws {
        let codes = Self.texts(try self.schema("ProblemCode")["enum"])
        #expect(codes == Problem.Code.allCases.map(\.rawValue))
        #expect(
            try self.schema("Problem")["properties"]?["code"]?["$ref"]?.string == "#/components/schemas/ProblemCode")
        let decoder = YAMLDecoder()
        var shown = 0
        for (name, response) in try #require(self.root["components"]?["responses"]?.mapping) {
            guard let example = response["content"]?["application/problem+json"]?["example"] else { continue }
            let problem = try decoder.decode(Problem.self, from: try Yams.serialize(node: example))
            #expect(
                problem.status == problem.code.status && problem.title == problem.code.title, "\(name.string ?? "")")
            #expect(problem.type == "/problems/\(problem.code.rawValue)")
            shown += 1
        }
        #expect(shown > 10)
    }

    @Test("enumerations have the words of the code")
    func enumerations() throws {
        func words(_ path: String...) throws -> [String] {
            let node = try path.dropFirst().reduce(try self.schema(path[0])) { try #require($0["properties"]?[$1]) }
            return Self.texts(node["enum"])
        }
        #expect(try words("Scope") == Scope.allCases.map(\.rawValue))
        #expect(try words("Layer") == Layer.allCases.map(\.code))
        #expect(try words("Severity") == Severity.allCases.map(\.rawValue))
        #expect(try words("Edge", "confidenceBand") == ConfidenceBand.allCases.map(\.rawValue))
        #expect(try words("AnomalyKind") == FindingKind.allCases.filter { $0 != .move }.map(\.rawValue))
    }
}
