/// What is wrong with the configuration: every fault at once, each naming its key. The process ends with code 64.
public struct SettingsError: Error, Sendable, Equatable, CustomStringConvertible {
    public static let exitCode: Int32 = 64

    public let faults: [String]

    public init(faults: [String]) { self.faults = faults }

    public var description: String {
        self.faults.map { "configuration: \($0)" }.joined(separator: "\n")
    }
}
