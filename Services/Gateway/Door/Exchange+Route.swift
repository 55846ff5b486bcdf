import Model

/// Which route a request means.
extension Exchange {
    /// What leads nowhere is paid for, too: by the caller when it is known, else by the address.
    func findRouteOrCharge() throws(Problem) -> RouteMatch {
        do throws(Problem) {
            return try self.findRoute()
        } catch {
            switch self.core.gatekeeper.identify(
                self.head.fields, memory: self.credentials, peer: self.peer, nowMs: self.startMs)
            {
            case .known(let caller): try self.spend(caller)
            // A bad credential has been paid for; what else refuses it goes first.
            case .refused(let refusal): guard refusal.status == 401 || refusal.status == 400 else { throw refusal }
            case .ask: try self.core.gatekeeper.admitStranger(self.peer.limitKey)
            }
            throw error
        }
    }

    private func findRoute() throws(Problem) -> RouteMatch {
        let (path, query) = try Target.split(self.head.target)
        switch self.core.routes.match(method: self.head.method, path: path) {
        case .route(let route, let parameters):
            let match = RouteMatch(route: route, parameters: parameters, query: query)
            try self.checkSide(of: route)
            self.match = match
            self.record.route = route.path
            return match
        case .none: throw Problem(.notFound, detail: "There is nothing at this path.")
        case .malformed: throw Problem(.invalidRequest, detail: "The path is not well formed.")
        case .otherMethods(let methods):
            self.allow = methods
            throw Problem(.methodNotAllowed, detail: "This path takes \(methods.joined(separator: ", ")).")
        }
    }

    /// What administrators do has a port of its own when the settings say so, and nothing else is on it.
    private func checkSide(of route: APIRoute) throws(Problem) {
        guard self.core.settings.adminPort != nil else { return }
        guard (route.scope == .admin) == self.peer.isAdministrative else {
            throw Problem(.notFound, detail: "There is nothing at this path.")
        }
        guard !self.peer.isAdministrative || route.method == .get || self.core.settings.hasAdminWrites else {
            throw Problem(.forbidden, detail: "This port only takes reads; ADMIN_WRITES changes that.")
        }
    }
}

/// A route and what the request said in its place holders.
struct RouteMatch: Sendable {
    let route: APIRoute
    let parameters: [String: String]
    let query: Substring?
}
