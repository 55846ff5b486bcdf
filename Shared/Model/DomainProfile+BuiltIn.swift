extension DomainProfile {
    /// Roles of common domain names, used where no profile is declared: call series, machines under the components, what
    /// users see, and addresses outside.
    public static let builtInRoles: [String: Role] = [
        "call": .call, "k8s-node": .host, "sli": .indicator, "remote": .remote,
    ]

    /// The profile of a domain for which none was declared.
    public static func undeclared(domain: String) -> DomainProfile {
        DomainProfile(domain: domain, role: Self.builtInRoles[domain] ?? .component)
    }
}
