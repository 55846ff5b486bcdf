import CLibpq

/// The hosts of a connection string, one at a time.
///
/// libpq walks through them itself, but without a time limit per host when it does not block: a silent first host would use up
/// the time of all. So each is tried by itself with its share of the time left.
struct HostList {
    /// What overrides the connection string for one host; nil: the setting is not in the string.
    struct Host: Hashable {
        var name: String?
        var address: String?
        var port: String?

        var settings: [(String, String)] {
            var settings: [(String, String)] = []
            if let name { settings.append(("host", name)) }
            if let address { settings.append(("hostaddr", address)) }
            if let port { settings.append(("port", port)) }
            return settings
        }
    }

    /// One entry without overrides when the string names at most one host.
    let hosts: [Host]
    /// `target_session_attrs` to ask for, pass by pass; nil: as the string says.
    let passes: [String?]

    /// - Parameter connectionString: one that libpq has accepted.
    init(_ connectionString: String) {
        var values: [String: String] = [:]
        if let options = PQconninfoParse(connectionString, nil) {
            var option = options
            while let keyword = option.pointee.keyword {
                if let value = option.pointee.val { values[String(cString: keyword)] = String(cString: value) }
                option = option.advanced(by: 1)
            }
            PQconninfoFree(options)
        }
        self.init(values)
    }

    init(_ values: [String: String]) {
        func list(_ keyword: String) -> [String]? {
            values[keyword].map { $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init) }
        }
        let (names, addresses, ports) = (list("host"), list("hostaddr"), list("port"))
        let count = max(names?.count ?? 0, addresses?.count ?? 0)
        // Lists of different lengths are libpq's to refuse.
        let fits =
            [names?.count, addresses?.count].allSatisfy { $0 == nil || $0 == count }
            && [nil, 1, count].contains(ports?.count)
        guard count > 1, fits else {
            self.hosts = [Host()]
            self.passes = [nil]
            return
        }
        self.hosts = (0..<count).map { index in
            Host(
                name: names?[index], address: addresses?[index],
                port: ports.map { $0.count == 1 ? $0[0] : $0[index] })
        }
        // libpq asks all hosts for a standby first, and takes any when there is none.
        self.passes = values["target_session_attrs"] == "prefer-standby" ? ["standby", "any"] : [nil]
    }
}
