import Foundation

/// What the kernel says about this process, under the names Prometheus' own clients use. Zero where it says nothing.
public struct ProcessMetrics: Sendable {
    public var residentBytes: Int = 0
    /// What the process may take: the control group's limit, or the machine's memory where that is less.
    public var memoryLimitBytes: Int = 0
    public var cpuSeconds: Double = 0
    public var openDescriptors: Int = 0
    /// Seconds since 1970.
    public var startSeconds: Double = 0

    /// Resident memory alone: one small file.
    public static func residentBytes() -> Int {
        guard let data = FileManager.default.contents(atPath: "/proc/self/statm") else { return 0 }
        let words = String(decoding: data, as: UTF8.self).split(whereSeparator: \.isWhitespace)
        return words.count > 1 ? (Int(words[1]) ?? 0) * Int(sysconf(Int32(_SC_PAGESIZE))) : 0
    }

    /// What the machine could still give, as the kernel estimates it.
    public static func availableBytes() -> Int {
        guard let data = FileManager.default.contents(atPath: "/proc/meminfo") else { return 0 }
        let lines = String(decoding: data, as: UTF8.self).split(separator: "\n")
        let words = lines.first { $0.hasPrefix("MemAvailable:") }?.split(whereSeparator: \.isWhitespace) ?? []
        return words.count > 1 ? (Int(words[1]) ?? 0) * 1_024 : 0
    }

    /// Reads /proc (Linux).
    public static func current() -> ProcessMetrics {
        var metrics = ProcessMetrics()
        func words(_ path: String) -> [Substring] {
            guard let data = FileManager.default.contents(atPath: path) else { return [] }
            return String(decoding: data, as: UTF8.self).split(whereSeparator: \.isWhitespace)
        }
        let pageBytes = Int(sysconf(Int32(_SC_PAGESIZE)))
        let ticksPerSecond = Double(sysconf(Int32(_SC_CLK_TCK)))
        let memory = words("/proc/self/statm")
        if memory.count > 1 { metrics.residentBytes = (Int(memory[1]) ?? 0) * pageBytes }
        let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        let meminfo = words("/proc/meminfo")
        let machine = meminfo.count > 1 ? (Int(meminfo[1]) ?? 0) * 1_024 : 0
        // Version 2 writes `max` for none, version 1 a number beyond any machine.
        metrics.memoryLimitBytes = limits.compactMap { words($0).first.flatMap { Int($0) } }.reduce(machine, min)
        if let data = FileManager.default.contents(atPath: "/proc/self/stat") {
            let line = String(decoding: data, as: UTF8.self)
            // The command name may hold blanks; fields are counted after its closing bracket (field 3 first).
            if let end = line.lastIndex(of: ")") {
                let fields = line[line.index(after: end)...].split(separator: " ")
                if fields.count > 19, let user = Double(fields[11]), let system = Double(fields[12]),
                    let start = Double(fields[19])
                {
                    metrics.cpuSeconds = (user + system) / ticksPerSecond
                    let boot = words("/proc/stat")
                    if let index = boot.firstIndex(of: "btime"), index + 1 < boot.count {
                        metrics.startSeconds = (Double(boot[index + 1]) ?? 0) + start / ticksPerSecond
                    }
                }
            }
        }
        metrics.openDescriptors = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count) ?? 0
        return metrics
    }

    func exposition(_ format: ExpositionFormat) -> String {
        func lines(_ name: String, _ kind: String, _ help: String, _ value: Double) -> String {
            format.head(name, kind, help: help) + "\(name) \(SampleText.text(value))\n"
        }
        return lines(
            "process_cpu_seconds_total", "counter", "User and system CPU time spent in seconds.", self.cpuSeconds)
            + lines("process_open_fds", "gauge", "Open file descriptors.", Double(self.openDescriptors))
            + lines(
                "process_resident_memory_bytes", "gauge", "Resident memory in bytes.", Double(self.residentBytes))
            + lines(
                "process_memory_limit_bytes", "gauge",
                "Memory this process may take: limit of its control group, else memory of the machine, in bytes.",
                Double(self.memoryLimitBytes))
            + lines(
                "process_start_time_seconds", "gauge", "Start of the process since the Unix epoch in seconds.",
                self.startSeconds)
    }
}
