import Foundation
import TestSupport
import Testing

/// The units of `scripts/systemd`, as systemd reads them.
struct SystemdUnit {
    let name: String
    /// Values by `Section.Key`, in their order; a key may stand several times.
    private(set) var values: [String: [String]] = [:]

    static let folder = ModuleDependencyTests.root.appending(path: "scripts/systemd").path

    init(_ name: String) throws {
        self.name = name
        var section = ""
        for line in try String(contentsOfFile: "\(Self.folder)/\(name)", encoding: .utf8).split(separator: "\n") {
            if line.hasPrefix("[") {
                section = String(line.dropFirst().dropLast())
            } else if !line.hasPrefix("#"), let equals = line.firstIndex(of: "=") {
                self.values["\(section).\(line[..<equals])", default: []].append(
                    String(line[line.index(after: equals)...]))
            }
        }
    }

    func words(_ key: String) -> Set<String> {
        Set((self.values[key] ?? []).flatMap { $0.split(separator: " ").map(String.init) })
    }
    func number(_ key: String) -> Int { Int(self.values[key]?.last ?? "") ?? 0 }
}

@Suite("Units for systemd")
struct SystemdUnits {
    static let services = ["graph-builder", "anomaly-propagation", "gateway"].map { "undercurrent-\($0).service" }
    static let every = Self.services + ["undercurrent-migrate.service", "undercurrent-snapshot.service"]

    @Test("every unit runs as a user of its own, without rights it does not need", arguments: Self.every)
    func hardening(_ name: String) throws {
        let unit = try SystemdUnit(name)
        #expect(unit.values["Service.User"] == ["undercurrent"] && unit.values["Service.Group"] == ["undercurrent"])
        for key in [
            "NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices", "ProtectKernelTunables",
            "ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups", "ProtectClock", "ProtectHostname",
            "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality", "MemoryDenyWriteExecute",
        ] {
            #expect(unit.values["Service.\(key)"] == ["yes"], "\(key)")
        }
        #expect(unit.values["Service.ProtectSystem"] == ["strict"])
        #expect(unit.values["Service.SystemCallFilter"] == ["@system-service", "~@privileged @resources"])
        #expect(unit.words("Service.RestrictAddressFamilies") == ["AF_UNIX", "AF_INET", "AF_INET6"])
        // Ports below 1024 are for the door alone.
        let rights: Set<String> = name == "undercurrent-gateway.service" ? ["CAP_NET_BIND_SERVICE"] : []
        #expect(unit.values["Service.CapabilityBoundingSet"] != nil)
        #expect(unit.words("Service.CapabilityBoundingSet") == rights)
        // Which build it is comes with the installation; what belongs to people may be left out, what is shared may not.
        let files = unit.values["Service.EnvironmentFile"] ?? []
        #expect(files.first == "-/etc/undercurrent/version.env" && files.contains("/etc/undercurrent/common.env"))
    }

    @Test("services begin behind the migration, but a database that comes late keeps none of them down")
    func ordering() throws {
        for name in Self.services {
            let unit = try SystemdUnit(name)
            #expect(unit.words("Unit.After").isSuperset(of: ["undercurrent-migrate.service", "network-online.target"]))
            #expect(unit.words("Unit.Wants").contains("undercurrent-migrate.service"))
            // A service that required the migration would fail with it, once and for good.
            #expect(unit.values["Unit.Requires"] == nil)
            #expect(unit.values["Service.Restart"] == ["always"])
            #expect(unit.number("Service.TimeoutStopSec") > 20, "\(name): longer than SHUTDOWN_GRACE_SECONDS")
        }
        let migrate = try SystemdUnit("undercurrent-migrate.service")
        #expect(migrate.values["Service.Type"] == ["oneshot"] && migrate.values["Service.RemainAfterExit"] == ["yes"])
        #expect(migrate.values["Service.Restart"] == ["on-failure"])
        // Bounded: all attempts lie within the interval, and last some minutes.
        let (attempts, pause) = (migrate.number("Unit.StartLimitBurst"), migrate.number("Service.RestartSec"))
        let interval = migrate.number("Unit.StartLimitIntervalSec")
        #expect(attempts * pause >= 600 && attempts * (pause + 1) < interval, "\(attempts) x \(pause) of \(interval)")
        #expect(try SystemdUnit("undercurrent-snapshot.timer").values["Timer.OnCalendar"] == ["*-*-* 02:00:00"])
    }

    @Test(
        "systemd itself takes the units",
        .enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/systemd-analyze"), "no systemd-analyze"))
    func verify() throws {
        let folder = NSTemporaryDirectory() + "units-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        // It wants to see the programs.
        for product in Stack.serviceNames {
            try FileManager.default.copyItem(atPath: "/bin/true", toPath: "\(folder)/\(product)")
        }
        let names = try FileManager.default.contentsOfDirectory(atPath: SystemdUnit.folder)
            .filter { $0.hasPrefix("undercurrent-") }
        #expect(names.count == 6)
        for name in names {
            try String(contentsOfFile: "\(SystemdUnit.folder)/\(name)", encoding: .utf8)
                .replacing("/usr/local/bin", with: folder)
                .write(toFile: "\(folder)/\(name)", atomically: true, encoding: .utf8)
        }
        try ChildProgram.run(
            ["/usr/bin/systemd-analyze", "verify", "--man=no"] + names.map { "\(folder)/\($0)" })
    }
}
