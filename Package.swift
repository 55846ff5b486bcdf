// swift-tools-version: 6.2
import PackageDescription

/// Every target of ours compiles in Swift 6 mode, with the upcoming features below and no warnings.
let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableUpcomingFeature("InferIsolatedConformances"),
    .treatAllWarnings(as: .error),
]

// Products by package, so that a target's dependency list reads as one line each.
let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let asyncHTTPClient = Target.Dependency.product(name: "AsyncHTTPClient", package: "async-http-client")
let configuration = Target.Dependency.product(name: "Configuration", package: "swift-configuration")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let collections = Target.Dependency.product(name: "Collections", package: "swift-collections")
let httpTypes = Target.Dependency.product(name: "HTTPTypes", package: "swift-http-types")
let hummingbird = Target.Dependency.product(name: "Hummingbird", package: "hummingbird")
let hummingbirdCore = Target.Dependency.product(name: "HummingbirdCore", package: "hummingbird")
let hummingbirdTesting = Target.Dependency.product(name: "HummingbirdTesting", package: "hummingbird")
let jwtKit = Target.Dependency.product(name: "JWTKit", package: "jwt-kit")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let metrics = Target.Dependency.product(name: "Metrics", package: "swift-metrics")
let coreMetrics = Target.Dependency.product(name: "CoreMetrics", package: "swift-metrics")
let metricsTestKit = Target.Dependency.product(name: "MetricsTestKit", package: "swift-metrics")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioEmbedded = Target.Dependency.product(name: "NIOEmbedded", package: "swift-nio")
let nioFoundation = Target.Dependency.product(name: "NIOFoundationCompat", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioHTTPTypes = Target.Dependency.product(name: "NIOHTTPTypes", package: "swift-nio-extras")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let nioHPACK = Target.Dependency.product(name: "NIOHPACK", package: "swift-nio-http2")
let nioHTTP2 = Target.Dependency.product(name: "NIOHTTP2", package: "swift-nio-http2")
let nioTLS = Target.Dependency.product(name: "NIOTLS", package: "swift-nio")
let nioSSL = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")
let serviceLifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let unixSignals = Target.Dependency.product(name: "UnixSignals", package: "swift-service-lifecycle")
let tracing = Target.Dependency.product(name: "Tracing", package: "swift-distributed-tracing")
let instrumentation = Target.Dependency.product(name: "Instrumentation", package: "swift-distributed-tracing")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")

let package = Package(
    name: "undercurrent",
    products: [
        .executable(name: "graph-builder", targets: ["GraphBuilder"]),
        .executable(name: "anomaly-propagation", targets: ["AnomalyPropagation"]),
        .executable(name: "gateway", targets: ["Gateway"]),
    ],
    dependencies: [
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-nio-http2", from: "1.44.0"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.34.1"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.7.3"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-crypto", "3.12.3"..<"5.0.0"),
        .package(url: "https://github.com/vapor/jwt-kit", from: "5.7.1"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        .systemLibrary(name: "CLibpq", path: "Shared/CLibpq", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .systemLibrary(name: "CZlib", path: "Shared/CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),

        .systemLibrary(name: "CMalloc", path: "Shared/CMalloc"),

        .target(name: "CKernels", path: "Shared/CKernels"),

        .target(name: "Model", dependencies: [crypto], path: "Shared/Model", swiftSettings: strict),
        .target(
            name: "Engine", dependencies: ["Model", "CKernels", crypto, collections], path: "Shared/Engine",
            swiftSettings: strict),
        .target(
            name: "Recordings", dependencies: ["Model", "CZlib"], path: "Shared/Recordings", swiftSettings: strict),
        .target(
            name: "Postgres", dependencies: ["Model", "CLibpq", logging, metrics, collections], path: "Shared/Postgres",
            resources: [.embedInCode("Migrations/SQL")], swiftSettings: strict),
        .target(
            name: "Telemetry",
            dependencies: [
                "Model", logging, metrics, coreMetrics, tracing, instrumentation, serviceLifecycle, asyncHTTPClient,
                nioCore, nioHTTP1,
            ],
            path: "Shared/Telemetry", swiftSettings: strict),
        .target(
            name: "ServiceRuntime",
            dependencies: [
                "Model", "Postgres", "Telemetry", "CZlib", hummingbird, hummingbirdCore, httpTypes, serviceLifecycle,
                unixSignals,
                configuration, argumentParser, asyncHTTPClient, crypto, logging, metrics, coreMetrics, tracing,
                instrumentation, nioCore, nioHTTP1, nioHTTPTypes, nioPosix, yams,
            ],
            path: "Shared/ServiceRuntime", swiftSettings: strict),

        .executableTarget(
            name: "GraphBuilder",
            dependencies: [
                "Model", "Engine", "Postgres", "Telemetry", "ServiceRuntime", "Recordings", "CZlib", "CMalloc",
                hummingbird, httpTypes, asyncHTTPClient, crypto, nioSSL, nioCore, nioHTTP1, serviceLifecycle,
                configuration, argumentParser, collections, logging,
                metrics, tracing,
            ],
            path: "Services/GraphBuilder", swiftSettings: strict),
        .executableTarget(
            name: "AnomalyPropagation",
            dependencies: [
                "Model", "Engine", "Postgres", "Telemetry", "ServiceRuntime", "CMalloc", hummingbird, httpTypes,
                nioCore, nioHTTP1, nioSSL, asyncHTTPClient, crypto, serviceLifecycle, configuration, argumentParser,
                collections, logging,
                metrics, tracing,
            ],
            path: "Services/AnomalyPropagation", swiftSettings: strict),
        .executableTarget(
            name: "Gateway",
            dependencies: [
                "Model", "Postgres", "Telemetry", "ServiceRuntime", httpTypes, asyncHTTPClient, jwtKit, nioCore,
                nioPosix,
                nioHTTP1, nioHPACK, nioHTTP2, nioSSL, nioTLS, serviceLifecycle, configuration, argumentParser,
                collections, crypto, logging, metrics, coreMetrics, tracing, instrumentation, yams,
            ],
            path: "Services/Gateway", resources: [.embedInCode("Resources")], swiftSettings: strict),

        .testTarget(name: "ModelTests", dependencies: ["Model", crypto], swiftSettings: strict),
        .testTarget(
            name: "EngineTests", dependencies: ["Engine", "Model", "Recordings", "PlantedData", "Fuzzing", crypto],
            exclude: ["Fuzz/Corpus"],
            swiftSettings: strict
        ),
        .testTarget(name: "RecordingsTests", dependencies: ["Recordings", "Model"], swiftSettings: strict),
        .testTarget(
            name: "PostgresTests", dependencies: ["Postgres", "Model", "TestSupport", logging], swiftSettings: strict),
        .testTarget(
            name: "TelemetryTests",
            dependencies: [
                "Telemetry", "Model", logging, metrics, coreMetrics, tracing, instrumentation, nioCore, hummingbird,
                hummingbirdTesting,
            ],
            swiftSettings: strict
        ),
        .testTarget(
            name: "ServiceRuntimeTests",
            dependencies: [
                "ServiceRuntime", "Telemetry", "Postgres", "Model", "TestSupport", hummingbird, hummingbirdTesting,
                httpTypes, configuration, logging, metrics, coreMetrics, serviceLifecycle, crypto, nioCore, nioEmbedded,
                nioHTTPTypes, nioPosix, yams,
            ],
            swiftSettings: strict),
        .testTarget(
            name: "GraphBuilderTests",
            dependencies: [
                "GraphBuilder", "CZlib", "Engine", "Postgres", "Recordings", "ServiceRuntime", "Telemetry", "Model",
                "TestSupport", "Fuzzing", hummingbird,
                hummingbirdTesting, httpTypes, argumentParser, logging, nioCore, nioHTTP1,
            ],
            exclude: ["Fuzz/Corpus"],
            swiftSettings: strict),
        .testTarget(
            name: "AnomalyPropagationTests",
            dependencies: [
                "AnomalyPropagation", "Engine", "Postgres", "ServiceRuntime", "Model", "TestSupport", hummingbird,
                hummingbirdTesting, httpTypes, logging, nioCore, crypto,
            ],
            swiftSettings: strict),
        .testTarget(
            name: "GatewayTests",
            dependencies: [
                "Gateway", "Postgres", "ServiceRuntime", "Telemetry", "Model", "TestSupport", "Fuzzing", hummingbird,
                hummingbirdTesting, httpTypes, jwtKit, asyncHTTPClient, crypto, logging, nioCore, nioPosix, nioHPACK,
                nioHTTP1, nioHTTP2, nioSSL, serviceLifecycle, yams,
            ],
            exclude: ["Fuzz/Corpus"],
            swiftSettings: strict),
        .testTarget(
            name: "IntegrationTests",
            dependencies: [
                "Postgres", "Model", "Recordings", "TestSupport", asyncHTTPClient, nioCore, nioHTTP2, nioSSL, logging,
                crypto, yams, nioPosix, nioHTTP1,
            ],
            swiftSettings: strict),
        .target(
            name: "TestSupport", dependencies: ["Postgres", "Model", logging], path: "Tests/TestSupport",
            swiftSettings: strict),
        .target(name: "Fuzzing", path: "Tests/Fuzzing", swiftSettings: strict),
        .target(
            name: "PlantedData", dependencies: ["Engine", "Model"], path: "Tests/PlantedData", swiftSettings: strict),
        .executableTarget(
            name: "Calibration", dependencies: ["Engine", "Model", "PlantedData"], path: "Tests/Calibration",
            swiftSettings: strict),
        .target(name: "CAllocations", path: "Tests/CAllocations"),
        .target(name: "CPeak", path: "Tests/CPeak"),
        .executableTarget(
            name: "Benchmarks",
            dependencies: [
                "CAllocations", "CKernels", "CPeak",
                "Engine", "Model", "PlantedData", "Recordings", "GraphBuilder", "Postgres", "CLibpq", "TestSupport",
                logging,
                asyncHTTPClient, crypto, nioCore, nioHTTP1, nioSSL,
            ],
            path: "Tests/Benchmarks", exclude: ["graph_peers.py", "peers.py"],
            swiftSettings: strict),
        .executableTarget(
            name: "Load",
            dependencies: [
                argumentParser, asyncHTTPClient, collections, nioCore, nioFoundation, nioHTTP1, nioPosix, nioSSL,
            ],
            path: "Tests/Load", swiftSettings: strict),
        .executableTarget(
            name: "Accuracy", dependencies: ["Engine", "Model", "Recordings"], path: "Tests/Accuracy",
            swiftSettings: strict),
        .testTarget(name: "AccuracyTests", dependencies: ["Accuracy", "Engine"], swiftSettings: strict),
    ],
    swiftLanguageModes: [.v6]
)
