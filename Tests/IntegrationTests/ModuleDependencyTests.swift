import Foundation
import Testing

/// Dependencies point one way: Services -> ServiceRuntime, Postgres, Telemetry -> Model; Services -> Engine -> Model.
@Suite("Module dependencies")
struct ModuleDependencyTests {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// What each of our modules may import of ours.
    static let allowed: [String: Set<String>] = [
        "Model": [],
        "Engine": ["Model", "CKernels"],
        "Recordings": ["Model", "CZlib"],
        "Postgres": ["Model", "CLibpq"],
        "Telemetry": ["Model"],
        "ServiceRuntime": ["Model", "Postgres", "Telemetry", "CZlib"],
        "GraphBuilder": [
            "Model", "Engine", "Postgres", "Telemetry", "ServiceRuntime", "Recordings", "CZlib", "CMalloc",
        ],
        "AnomalyPropagation": ["Model", "Engine", "Postgres", "Telemetry", "ServiceRuntime", "CMalloc"],
        "Gateway": ["Model", "Postgres", "Telemetry", "ServiceRuntime"],
    ]
    static let ours = Set(Self.allowed.keys).union([
        "CLibpq", "CZlib", "CMalloc", "CKernels", "TestSupport", "Benchmarks", "Accuracy",
    ])
    /// Modules that do I/O over the network or measure it, which pure algorithms must not know.
    static let impure: Set<String> = [
        "NIOCore", "NIOPosix", "NIOHTTP1", "NIOSSL", "Hummingbird", "HummingbirdCore", "AsyncHTTPClient", "Logging",
        "Metrics",
        "Tracing", "Dispatch",
    ]

    private func folder(of module: String) -> URL {
        let services: Set = ["GraphBuilder", "AnomalyPropagation", "Gateway"]
        return Self.root.appending(path: services.contains(module) ? "Services" : "Shared").appending(path: module)
    }

    /// Modules imported by the sources of `module`.
    private func imports(of module: String) throws -> Set<String> {
        let files = FileManager.default.enumerator(at: self.folder(of: module), includingPropertiesForKeys: nil)
        var found: Set<String> = []
        var count = 0
        while let file = files?.nextObject() as? URL {
            guard file.pathExtension == "swift" else { continue }
            count += 1
            for line in try String(contentsOf: file, encoding: .utf8).split(whereSeparator: \.isNewline) {
                guard
                    let match = line.firstMatch(
                        of:
                            /^\s*(?:@[A-Za-z_()]+ |public |package |internal |private )*import (?:struct |class |enum |func )?([A-Za-z0-9_]+)/
                    )
                else { continue }
                found.insert(String(match.output.1))
            }
        }
        try #require(count > 0, "no sources of \(module)")
        return found
    }

    @Test("every module imports only what lies below it", arguments: Self.allowed.keys.sorted())
    func oneWay(module: String) throws {
        let allowed = try #require(Self.allowed[module])
        let used = try self.imports(of: module).intersection(Self.ours)
        #expect(used.subtracting(allowed).isEmpty, "\(module) imports \(used.subtracting(allowed).sorted())")
    }

    @Test("Package.swift allows no more than the table", arguments: Self.allowed.keys.sorted())
    func manifest(module: String) throws {
        let manifest = try String(contentsOf: Self.root.appending(path: "Package.swift"), encoding: .utf8)
        let start = try #require(
            manifest.range(of: "arget(\n            name: \"\(module)\"")
                ?? manifest.range(of: "arget(name: \"\(module)\""))
        let rest = manifest[start.upperBound...]
        let end = try #require(rest.range(of: "path: \""))
        let named = rest[..<end.lowerBound].matches(of: /"([A-Za-z]+)"/).map { String($0.output.1) }
        #expect(Set(named).intersection(Self.ours).subtracting(Self.allowed[module] ?? []).isEmpty)
    }

    @Test("Model, Engine and Recordings know no network, log or metrics", arguments: ["Model", "Engine", "Recordings"])
    func pure(module: String) throws {
        #expect(try self.imports(of: module).isDisjoint(with: Self.impure))
    }

    @Test("there is no module outside the table")
    func complete() throws {
        for top in ["Services", "Shared"] {
            let folders = try FileManager.default.contentsOfDirectory(atPath: Self.root.appending(path: top).path)
            #expect(Set(folders).subtracting(Self.ours).isEmpty)
        }
    }
}
