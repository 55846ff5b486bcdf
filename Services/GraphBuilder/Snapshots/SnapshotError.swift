import ArgumentParser

/// Why a snapshot was not made, not believed or not restored. Nothing half-done remains in any of these cases.
struct SnapshotError: Error, Hashable, CustomStringConvertible {
    enum Kind: Hashable {
        /// The folder or a file cannot be read or written: rights, room, device.
        case storage
        /// A file is not what its manifest says.
        case damaged
        /// The snapshot and the database do not fit together.
        case unfit
        /// Another process is at work in the folder.
        case busy
        /// There is no such snapshot.
        case missing
    }

    let kind: Kind
    let description: String

    init(_ kind: Kind, _ description: String) {
        self.kind = kind
        self.description = description
    }

    /// After `sysexits.h`: 74 input or output, 65 data, 78 configuration, 75 try again later, 66 no input.
    var exitCode: ExitCode {
        switch self.kind {
        case .storage: ExitCode(74)
        case .damaged: ExitCode(65)
        case .unfit: ExitCode(78)
        case .busy: ExitCode(75)
        case .missing: ExitCode(66)
        }
    }
}
